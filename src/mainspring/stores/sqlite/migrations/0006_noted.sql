-- Which line the checkpoint and the progress are of: lines of one run may overtake each other on the way. Only
-- written together with them.

ALTER TABLE tasks ADD COLUMN noted_token INTEGER;
ALTER TABLE tasks ADD COLUMN noted INTEGER;
