-- Which line the checkpoint and the progress are of: lines of one run may overtake each other on the way. Only
-- written together with them.

ALTER TABLE mainspring.tasks ADD COLUMN noted_token bigint;
ALTER TABLE mainspring.tasks ADD COLUMN noted bigint;
