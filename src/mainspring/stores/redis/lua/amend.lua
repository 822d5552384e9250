-- uses: moves, reply
-- Edits a waiting task. ARGV[1]: {task, version, lane, run_at, timeout, deadline, on_parent_failure}; ARGV[2]: its body
-- from now on. Answers its view, or why nothing was done.
local id, version, lane, run_at, timeout, deadline, rule = unpack(cmsgpack.unpack(ARGV[1]))

-- The rule for failed parents may have changed: those that ended are applied anew.
local function apply_ended(head)
    local parents = parents_of(head)
    load(parents)
    for _, parent in ipairs(parents) do
        if heads[parent] and heads[parent][STATE] > RUNNING then
            add(key.unresolved, parent, now)
        end
    end
end

-- A ready task keeps its place in line: it has waited as long as before.
local function edit(head)
    leave(head)
    local number = lane_id(lane)
    sum(key.lane_uses, head[LANE], -1)
    sum(key.lane_uses, number, 1)
    head[LANE], head[RUN_AT], head[TIMEOUT], head[DEADLINE] = number, run_at, timeout, deadline
    head[ON_PARENT_FAILURE] = rule
    put(key.bodies, id, ARGV[2])
    enter(head, true)
    touch(head)
    if head[STATE] == BLOCKED then
        apply_ended(head)
    elseif head[STATE] == SCHEDULED or due_state(run_at) == SCHEDULED then
        move(head, CAUSE_RESCHEDULE, due_state(run_at))
    end
end

local head, answer = head_of(id), nil
if not head then
    answer = {'not_found'}
elseif head[VERSION] ~= version then
    answer = {'version_mismatch', head[VERSION]}
elseif head[STATE] > READY then
    answer = {'wrong_state', head[STATE]}
else
    edit(head)
    answer = view(id)
end
flush()
return reply({answer, next(gained) ~= nil})
