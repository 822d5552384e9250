-- uses: by_hand, forgetting, reply
-- ARGV[1]: lines {task, action, version or false, delay_us}. Answers for each line a view, or {code, detail}.
-- {answers, whether others may wait for it}
local function replay(head, delay_us)
    if head[STATE] ~= FAILED and head[STATE] ~= CANCELLED then
        return false
    end
    start_over(head)
    head[RUN_AT] = delay_us > 0 and now + delay_us
    move(head, CAUSE_REPLAY, due_state(head[RUN_AT]))
    wait_again(head.id)
    return true
end

local function run_now(head)
    if head[STATE] ~= SCHEDULED then
        return false
    end
    head[RUN_AT] = false
    fence(head)
    move(head, CAUSE_RESCHEDULE, READY)
    return true
end

local actions = {
    [DO_CANCEL] = cancel, [DO_KILL] = kill, [DO_REPLAY] = replay, [DO_RUN_NOW] = run_now, [DO_DISCARD] = cancel,
}

local function force(line)
    local task, action, version, delay_us = unpack(line)
    local head = head_of(task)
    if not head then
        return {'not_found'}
    end
    if version and head[VERSION] ~= version then
        return {'version_mismatch', head[VERSION]}
    end
    if action == DO_DISCARD and is_needed(task) then
        return {'depended_on'}
    end
    if not actions[action](head, delay_us) then
        return {'wrong_state', head[STATE]}
    end
    return view(head.id)
end

local lines, ids, answers = cmsgpack.unpack(ARGV[1]), {}, {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for n, line in ipairs(lines) do
    answers[n] = force(line)
end
release_children()
go_on_when_full()
flush()
return reply({answers, #finished > 0 or next(gained) ~= nil})
