-- uses: record
-- What tasks belong to: the groups of dead letters, the fires of a schedule, a workflow. Tasks of none cost nothing.
local EPOCH = 4503599627370496  -- added to times in names, which must not be negative: 2^52

-- A dead letter among its like: the latest is the last one.
local function letter_of(head)
    return head[FINGERPRINT] .. struct.pack('>I8I8', head[FINISHED], head[ORDINAL]) .. head.id
end

-- Groups stand in the order of their size, the largest first.
local function count_letters(fingerprint, step)
    if tonumber(redis.call('ZINCRBY', key.groups, -step, fingerprint)) >= 0 then
        redis.call('ZREM', key.groups, fingerprint)
    end
end

belonging.died = function(head)
    head[FINISHED] = now
    redis.call('ZADD', key.dead, now, head.id)
    if head[FINGERPRINT] then
        redis.call('ZADD', key.letters, 0, letter_of(head))
        count_letters(head[FINGERPRINT], 1)
    end
end

-- It is a dead letter no more.
belonging.replayed = function(head)
    redis.call('ZREM', key.dead, head.id)
    if head[FINGERPRINT] then
        redis.call('ZREM', key.letters, letter_of(head))
        count_letters(head[FINGERPRINT], -1)
        head[FINGERPRINT] = false
    end
end

-- Fires of a schedule by their times; those whose tasks are unfinished stand apart as well.
local function fires_at(schedule, fire_at)
    return prefixed(schedule) .. struct.pack('>I8', fire_at + EPOCH)
end

belonging.moved = function(head)
    local fire = fires_at(head[SCHEDULE], head[FIRE_AT]) .. head.id
    if head[STATE] > RUNNING then
        redis.call('ZREM', key.open_fires, fire)
    else
        redis.call('ZADD', key.open_fires, 0, fire)
    end
end

-- An answer with the records of schedules behind it.
local function with_schedules(answer, ids)
    for first = 1, #ids, CHUNK do
        local last = math.min(first + CHUNK - 1, #ids)
        for _, record in ipairs(redis.call('HMGET', key.schedules, unpack(ids, first, last))) do
            answer[#answer + 1] = record or ''
        end
    end
    return answer
end

-- A task that was stored just now is that of a fire.
belonging.fired = function(head, schedule, fire_at)
    head[SCHEDULE], head[FIRE_AT] = schedule, fire_at
    dirty[head.id] = head
    redis.call('ZADD', key.fired, 0, fires_at(schedule, fire_at) .. head.id)
    belonging.moved(head)
end

-- The tasks of a workflow in their order: parents before children, callbacks last.
local function part_of(head)
    return prefixed(head[WORKFLOW]) .. struct.pack('>I8', head[ORDINAL]) .. head.id
end

local function members_of(workflow)
    local prefix, ids = prefixed(workflow), {}
    for n, part in ipairs(redis.call('ZRANGEBYLEX', key.members, '[' .. prefix, '(' .. prefix .. '\255')) do
        ids[n] = string.sub(part, #prefix + 9)
    end
    load(ids)
    return ids
end

belonging.joined = function(head, workflow)
    head[WORKFLOW], head[CALLBACK] = workflow[1], workflow[3][head.id] or false
    redis.call('ZADD', key.members, 0, part_of(head))
end

belonging.founded = function(workflow)
    local kept = string.format('[%.0f,', now) .. string.sub(workflow[2], 2)
    redis.call('HSET', key.workflows, workflow[1], kept)
    redis.call('ZADD', key.founded, mint(), workflow[1])
end

-- The last task takes the workflow with it; until then a member's end goes on counting.
local function leave_workflow(head)
    local workflow, prefix = head[WORKFLOW], prefixed(head[WORKFLOW])
    redis.call('ZREM', key.members, part_of(head))
    if redis.call('ZLEXCOUNT', key.members, '[' .. prefix, '(' .. prefix .. '\255') == 0 then
        redis.call('HDEL', key.workflows, workflow)
        redis.call('ZREM', key.founded, workflow)
        for state = SUCCEEDED, CANCELLED do
            redis.call('HDEL', key.forgotten, state .. ':' .. workflow)
        end
    elseif not head[CALLBACK] then
        redis.call('HINCRBY', key.forgotten, head[STATE] .. ':' .. workflow, 1)
    end
end

-- A final task is about to be forgotten.
belonging.forgotten = function(head)
    if head[STATE] == FAILED then
        belonging.replayed(head)
    end
    if head[SCHEDULE] then
        redis.call('ZREM', key.fired, fires_at(head[SCHEDULE], head[FIRE_AT]) .. head.id)
    end
    if head[WORKFLOW] then
        leave_workflow(head)
    end
end

-- Whether retention may take a workflow's tasks: together, when each is past its own time, as in
-- `core/workflows.py`. `kept`: for each final state how long its tasks are kept, or false.
local pasts = {}

belonging.is_past = function(workflow, kept)
    if pasts[workflow] == nil then
        pasts[workflow] = true
        for _, id in ipairs(members_of(workflow)) do
            local head = heads[id]
            if head and not (kept[head[STATE]] and head[FINISHED] + kept[head[STATE]] <= now) then
                pasts[workflow] = false
            end
        end
    end
    return pasts[workflow]
end
