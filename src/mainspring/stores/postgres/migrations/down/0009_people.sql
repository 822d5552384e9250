-- Nothing is lost.

DROP VIEW mainspring.task_list;
DROP FUNCTION mainspring.time_of(bigint), mainspring.command_of(bytea), mainspring.text_of(bytea);

CREATE OR REPLACE FUNCTION mainspring.schedule_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.mark = '' THEN
        NEW.version := mainspring.now_us();
        NEW.mark := 'sql' || NEW.version;
    ELSIF TG_OP = 'UPDATE' AND NEW.mark = OLD.mark THEN
        NEW.version := greatest(OLD.version + 1, mainspring.now_us());
        NEW.mark := 'sql' || NEW.version;
        NEW.look_us := 0;
        NEW.quarantine := NULL;
        NEW.updated_us := NULL;
    END IF;
    RETURN NEW;
END $$;
