-- Nothing is lost: without these columns the last line that comes counts.

ALTER TABLE tasks DROP COLUMN noted;
ALTER TABLE tasks DROP COLUMN noted_token;
