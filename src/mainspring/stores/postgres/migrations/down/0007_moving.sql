-- loses the mark of a copy that has not ended: SELECT EXISTS (SELECT FROM mainspring.loading)

DROP TABLE mainspring.loading;
