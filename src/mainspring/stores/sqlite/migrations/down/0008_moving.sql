-- loses the mark of a copy that has not ended: SELECT EXISTS (SELECT 1 FROM loading)

DROP TABLE loading;
