-- Nothing is lost: without these columns the last line that comes counts.

ALTER TABLE mainspring.tasks DROP COLUMN noted, DROP COLUMN noted_token;
