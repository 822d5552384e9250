-- By hand. ARGV[1]: lines {task, action, version or false}; actions: 1 cancel, 2 kill, 3 replay, 4 run now,
-- 5 discard.
-- Answers for each line a view, or {code, detail}.
local function replay(head)
    if head[STATE] ~= FAILED and head[STATE] ~= CANCELLED then
        return false
    end
    start_over(head)
    head[RUN_AT] = false
    move(head, READY)
    return true
end

local function run_now(head)
    if head[STATE] ~= SCHEDULED then
        return false
    end
    head[RUN_AT] = false
    fence(head)
    move(head, READY)
    return true
end

local ACTIONS = {cancel, kill, replay, run_now, cancel}
local WISHES = {'cancel', 'kill', 'replay', 'run_now', 'discard'}
local DISCARD = 5
local LABELS = {'blocked', 'scheduled', 'ready', 'running', 'succeeded', 'failed', 'cancelled'}

-- Whether an unfinished task waits for this one; the edges of ended ones are still there.
local function is_needed(task)
    local prefix, children = prefixed(task), {}
    for n, edge in ipairs(redis.call('ZRANGEBYLEX', key.edges, '[' .. prefix, '(' .. prefix .. '\255')) do
        children[n] = string.sub(edge, #prefix + 1)
    end
    load(children)
    for _, child in ipairs(children) do
        if heads[child] and heads[child][STATE] <= RUNNING then
            return true
        end
    end
    return false
end

local function force(line)
    local task, action, version = unpack(line)
    local head = head_of(task)
    if not head then
        return {'not_found', 'no task ' .. task}
    end
    if version and head[VERSION] ~= version then
        return {'version_mismatch', 'task ' .. task .. ' is at another version'}
    end
    if action == DISCARD and is_needed(task) then
        return {'wrong_state', 'unfinished tasks depend on task ' .. task}
    end
    if not ACTIONS[action](head) then
        local detail = 'task ' .. task .. ' is ' .. LABELS[head[STATE]] .. ': ' .. WISHES[action] .. ' is not possible'
        return {'wrong_state', detail}
    end
    return view_now(head)
end

local lines, ids, answers = cmsgpack.unpack(ARGV[1]), {}, {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for n, line in ipairs(lines) do
    answers[n] = force(line)
end
return reply(answers, flush())
