-- loses submitted tasks that were not taken in yet: SELECT EXISTS (SELECT FROM mainspring.submissions)

DROP TABLE mainspring.completions, mainspring.submissions;
DROP FUNCTION mainspring.completion_commits(), mainspring.completion_written(),
    mainspring.lease_is_lost(text, bigint), mainspring.new_id();
