-- uses: reply
-- ARGV[1]: {task, token} each. Answers the leases that stand, or false. Writes nothing.
local lines, ids, answers = cmsgpack.unpack(ARGV[1]), {}, {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for n, line in ipairs(lines) do
    local head = heads[line[1]]
    answers[n] = head and head[STATE] == RUNNING and head[TOKEN] == line[2] and lane_of(head[LANE])
        and lease_of(head)
end
return reply(answers)
