-- uses: moves, reply
-- Waiting tasks past their deadline fail, if they are as they were seen. ARGV[1]: {task, version, fingerprint} each;
-- ARGV[2]: how they end. Answers the tasks that failed, and those that this ended besides.
local lines, ids = cmsgpack.unpack(ARGV[1]), {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for _, line in ipairs(lines) do
    local head = heads[line[1]]
    if head and head[VERSION] == line[2] and head[STATE] <= READY then
        end_as(head, ARGV[2])
        head[FINGERPRINT] = line[3]
        move(head, CAUSE_EXPIRE, FAILED)
    end
end
release_children()
go_on_when_full()
flush()
return reply(finished)
