-- uses: record
-- What tasks belong to: the groups of dead letters, the fires of a schedule, a workflow. Tasks of none cost nothing.
local EPOCH = 4503599627370496  -- added to times in names, which must not be negative: 2^52

-- A dead letter among its like: the latest is the last one.
local function letter_of(head)
    return head[FINGERPRINT] .. struct.pack('>I8I8', head[FINISHED], head[ORDINAL]) .. head.id
end

-- Groups stand in the order of their size, the largest first.
local sizes = {}

local function count_letters(fingerprint, step)
    if not sizes[fingerprint] then
        sizes[fingerprint] = -tonumber(redis.call('ZSCORE', key.groups, fingerprint) or 0)
    end
    sizes[fingerprint] = sizes[fingerprint] + step
    if sizes[fingerprint] > 0 then
        add(key.groups, fingerprint, -sizes[fingerprint])
    else
        remove(key.groups, fingerprint)
    end
end

belonging.died = function(head)
    head[FINISHED] = now
    add(key.dead, head.id, now)
    if head[FINGERPRINT] then
        add(key.letters, letter_of(head))
        count_letters(head[FINGERPRINT], 1)
    end
end

-- It is a dead letter no more.
belonging.replayed = function(head)
    remove(key.dead, head.id)
    if head[FINGERPRINT] then
        remove(key.letters, letter_of(head))
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
        remove(key.open_fires, fire)
    else
        add(key.open_fires, fire)
    end
end

-- A task that was stored just now is that of a fire.
belonging.fired = function(head, schedule, fire_at)
    head[SCHEDULE], head[FIRE_AT] = schedule, fire_at
    dirty[head.id] = head
    add(key.fired, fires_at(schedule, fire_at) .. head.id)
    belonging.moved(head)
end

-- The tasks of a workflow in their order: parents before children, callbacks last.
local function part_of(head)
    return prefixed(head[WORKFLOW]) .. struct.pack('>I8', head[ORDINAL]) .. head.id
end

local function ids_in(workflow)
    local ids = members_with(key.members, prefixed(workflow))
    for n, place in ipairs(ids) do
        ids[n] = string.sub(place, 9)
    end
    return ids
end

local function members_of(workflow)
    local ids = ids_in(workflow)
    load(ids)
    return ids
end

belonging.joined = function(head, workflow)
    head[WORKFLOW], head[CALLBACK] = workflow[1], workflow[3][head.id] or false
    add(key.members, part_of(head))
end

belonging.founded = function(workflow)
    local kept = string.format('[%.0f,', now) .. string.sub(workflow[2], 2)
    put(key.workflows, workflow[1], kept)
    add(key.founded, workflow[1], mint())
end

-- The last task takes the workflow with it; until then a member's end goes on counting.
local function leave_workflow(head)
    local workflow, prefix = head[WORKFLOW], prefixed(head[WORKFLOW])
    remove(key.members, part_of(head))
    sync(key.members)
    if redis.call('ZLEXCOUNT', key.members, '[' .. prefix, '(' .. prefix .. '\255') == 0 then
        put(key.workflows, workflow, false)
        remove(key.founded, workflow)
        for state = SUCCEEDED, CANCELLED do
            put(key.forgotten, state .. ':' .. workflow, false)
            sums[key.forgotten][state .. ':' .. workflow] = nil
        end
    elseif not head[CALLBACK] then
        sum(key.forgotten, head[STATE] .. ':' .. workflow, 1)
    end
end

-- A final task is about to be forgotten.
belonging.forgotten = function(head)
    if head[STATE] == FAILED then
        belonging.replayed(head)
    end
    if head[SCHEDULE] then
        remove(key.fired, fires_at(head[SCHEDULE], head[FIRE_AT]) .. head.id)
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
