-- uses: by_hand, reply
-- ARGV[1]: {guards {task, version}, tasks that come back {task, parents that it waits for}}. Nothing is written if a
-- guard finds another version. Answers heads of lanes, or false.
local guards, back = unpack(cmsgpack.unpack(ARGV[1]))
local ids = {}
for n, guard in ipairs(guards) do
    ids[n] = guard[1]
end
load(ids)
for _, guard in ipairs(guards) do
    local head = heads[guard[1]]
    if not head or head[VERSION] ~= guard[2] then
        return reply(false)
    end
end

local function bring_back(head, waits_for)
    local failed = head[STATE] == FAILED
    if head[STATE] > RUNNING then
        start_over(head)
        head[RUN_AT] = not failed and head[RUN_AT]
    end
    local state = #waits_for > 0 and BLOCKED or due_state(head[RUN_AT])
    move(head, failed and state == READY and CAUSE_REPLAY or CAUSE_REOPEN, state)
    for _, parent in ipairs(waits_for) do
        add(key.edges, prefixed(parent) .. head.id)
        add(key.dependents, prefixed(parent) .. head.id)
    end
    head[OPEN_PARENTS] = #waits_for
end

for _, line in ipairs(back) do
    bring_back(heads[line[1]], line[2])
end
for _, line in ipairs(back) do
    wait_again(line[1])
end
flush()
return reply(heads_of_lanes(gained))
