-- Heads of tasks: loaded once per call, changed in memory, written back by `flush`; and the one door for
-- every change of state, which keeps lines, holders and counts.
-- A field that is not set is `false`, since a packed array cannot hold `nil`. Whole numbers stay below 2^53.
local STATE, LANE, SEQ, TOKEN, VERSION, CREATED, RUN_AT, TIMEOUT, DEADLINE = 1, 2, 3, 4, 5, 6, 7, 8, 9
local STARTED, LEASE_UNTIL, TIMEOUT_AT, FINISHED, CANCEL_AT, CLAIM_SEQ = 10, 11, 12, 13, 14, 15
local SETTLED_TOKEN, SETTLED_DIGEST, ATTEMPT, RETRIES, LOSSES, SNOOZES = 16, 17, 18, 19, 20, 21
local OPEN_PARENTS, ON_PARENT_FAILURE, IS_PARENT, WORKER, INCARNATION = 22, 23, 24, 25, 26
local ORDINAL, FINGERPRINT, SCHEDULE, FIRE_AT, WORKFLOW, CALLBACK = 27, 28, 29, 30, 31, 32

local BLOCKED, SCHEDULED, READY, RUNNING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4, 5, 6, 7
local RUN_ANYWAY, HOLD, ONLY = 2, 3, 4  -- on_parent_failure; 1 is to be doomed
local CHILDREN_RELEASED_AT_ONCE = 500
local CHUNK = 1000            -- arguments per command: `unpack` is bound by the interpreter's stack

local now = now_us()
local minted = tonumber(redis.call('HGET', key.meta, 'minted') or 0)
local heads, dirty, gained, counted, finished = {}, {}, {}, {}, {}
local children_left = CHILDREN_RELEASED_AT_ONCE

local function mint()
    minted = math.max(minted + 1, now)
    return minted
end

local function prefixed(text)
    return struct.pack('>I2', #text) .. text
end

-- Reads the heads of these tasks that are not loaded yet, in few commands.
local function load(ids)
    local missing = {}
    for _, id in ipairs(ids) do
        if heads[id] == nil then
            heads[id] = false
            missing[#missing + 1] = id
        end
    end
    for first = 1, #missing, CHUNK do
        local last = math.min(first + CHUNK - 1, #missing)
        local found = redis.call('HMGET', key.heads, unpack(missing, first, last))
        for n = first, last do
            local packed = found[n - first + 1]
            if packed then
                local head = cmsgpack.unpack(packed)
                head.id = missing[n]
                heads[head.id] = head
            end
        end
    end
end

local function head_of(id)
    if heads[id] == nil then
        load({id})
    end
    return heads[id]
end

local function touch(head)
    head[VERSION] = math.max(head[VERSION] + 1, mint())
    dirty[head.id] = head
end

-- Lanes: number -> {queue, kind, tenant, priority, key, names = ...}, or false.
local lanes = {}

local function lane_of(number)
    local lane = lanes[number]
    if lane == nil then
        local text = redis.call('HGET', key.lanes, number)
        lane = text and cjson.decode(text)
        if lane then
            lane.text = text
            lane.names = {'queue:' .. lane[1], 'kind:' .. lane[2], 'tenant:' .. lane[3]}
            if lane[5] ~= '' then
                lane.names[4] = 'key:' .. lane[5]
            end
        end
        lanes[number] = lane
    end
    return lane
end

local function lane_id(text)
    local number = tonumber(redis.call('HGET', key.lane_ids, text) or nil)
    if not number then
        number = mint()
        redis.call('HSET', key.lane_ids, text, number)
        redis.call('HSET', key.lanes, number, text)
    end
    return number
end

local function count(head, step)
    local field = head[STATE] .. ':' .. lane_of(head[LANE])[1]
    counted[field] = (counted[field] or 0) + step
end

local function count_waiting(queue)
    local fields = {BLOCKED .. ':' .. queue, SCHEDULED .. ':' .. queue, READY .. ':' .. queue}
    local waiting = 0
    for n, stored in ipairs(redis.call('HMGET', key.counts, unpack(fields))) do
        waiting = waiting + tonumber(stored or 0) + (counted[fields[n]] or 0)
    end
    return waiting
end

-- Members of the sets that are sorted by name.
local function place_in_line(head)
    return struct.pack('>I8I8', head[LANE], head[SEQ]) .. head.id
end

local function claims_of(incarnation, claim_seq)
    return prefixed(incarnation) .. struct.pack('>I8', claim_seq)
end

-- `usage` (limits.lua) is told of every task that starts or stops to run, `belonging` (belonging.lua) of tasks of
-- schedules and workflows, and of dead letters.
local usage, belonging = {}, {}

local function leave(head)
    count(head, -1)
    local state = head[STATE]
    if state == READY then
        redis.call('ZREM', key.ready, place_in_line(head))
    elseif state == SCHEDULED then
        redis.call('ZREM', key.due, head.id)
    elseif state == BLOCKED then
        head[OPEN_PARENTS] = 0
    elseif state == RUNNING then
        redis.call('ZREM', key.held, claims_of(head[INCARNATION], head[CLAIM_SEQ]) .. head.id)
        head[LEASE_UNTIL], head[TIMEOUT_AT] = false, false
        usage.stop(lane_of(head[LANE]))
    elseif state == FAILED then
        belonging.replayed(head)
    end
end

local function enter(head, keeps_place)
    count(head, 1)
    local state = head[STATE]
    if state == READY then
        if not head[SEQ] or not keeps_place then
            head[SEQ] = mint()
        end
        redis.call('ZADD', key.ready, 0, place_in_line(head))
        gained[head[LANE]] = true
    elseif state == SCHEDULED then
        redis.call('ZADD', key.due, head[RUN_AT], head.id)
    elseif state == RUNNING then
        redis.call('ZADD', key.held, 0, claims_of(head[INCARNATION], head[CLAIM_SEQ]) .. head.id)
        usage.start(lane_of(head[LANE]))
    elseif state == FAILED then
        belonging.died(head)
    end
    if state <= READY then
        head[WORKER], head[FINISHED] = false, false
    end
    if head[SCHEDULE] then
        belonging.moved(head)
    end
end

local finish                  -- defined below: a child's end may move children of its own

-- Fields that the new state reads (run_at, worker ...) are set before.
local function move(head, state, keeps_place)
    leave(head)
    head[STATE] = state
    touch(head)
    enter(head, keeps_place)
    if state > RUNNING then
        finish(head)
    end
end

local function due_state(run_at)
    return run_at and run_at > now and SCHEDULED or READY
end

-- Whether a task runs, now that every parent has released it: one under ONLY only after a bad end.
local function may_run(child)
    if child[ON_PARENT_FAILURE] ~= ONLY then
        return true
    end
    local packed = redis.call('HGET', key.parents, child.id)
    local parents = packed and cmsgpack.unpack(packed) or {}
    load(parents)
    for _, id in ipairs(parents) do
        if heads[id] and heads[id][STATE] ~= SUCCEEDED then
            return true
        end
    end
    return false
end

local function release(child)
    child[OPEN_PARENTS] = child[OPEN_PARENTS] - 1
    dirty[child.id] = child
    if child[OPEN_PARENTS] == 0 then
        if may_run(child) then
            move(child, due_state(child[RUN_AT]))
        else
            redis.call('HSET', key.ends, child.id, SPARED_END)
            move(child, CANCELLED)
        end
    end
end

-- Whether a parent's end keeps a child from running: it is doomed, or held.
local function is_in_vain(state, rule)
    return state ~= SUCCEEDED and rule ~= RUN_ANYWAY and rule ~= ONLY
end

-- Applies a final parent to up to `limit` of its blocked children; how many. Children that it dooms are left
-- to a later pass unless `doomed_end` says how they end.
local function apply_parent(head, limit, doomed_end)
    local prefix, skipped, applied, left = prefixed(head.id), 0, 0, false
    repeat
        local edges = redis.call(
            'ZRANGEBYLEX', key.edges, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', skipped, CHUNK
        )
        local children = {}
        for n, edge in ipairs(edges) do
            children[n] = string.sub(edge, #prefix + 1)
        end
        load(children)
        for n, edge in ipairs(edges) do
            local child = heads[children[n]]
            local fails = child and is_in_vain(head[STATE], child[ON_PARENT_FAILURE])
            if not child or child[STATE] ~= BLOCKED then
                redis.call('ZREM', key.edges, edge)
            elseif fails and child[ON_PARENT_FAILURE] == HOLD then
                skipped = skipped + 1
            elseif applied == limit or fails and not doomed_end then
                left, skipped = true, skipped + 1
            else
                applied = applied + 1
                redis.call('ZREM', key.edges, edge)
                if fails then
                    redis.call('HSET', key.ends, child.id, doomed_end)
                    move(child, CANCELLED)
                else
                    release(child)
                end
            end
        end
    until #edges == 0 or left and applied == limit
    redis.call(left and 'SADD' or 'SREM', key.unresolved, head.id)
    return applied
end

-- Releases up to 500 children in a call. The rest, and those that a failed parent dooms, are left to
-- `resolve`: a wide or deep graph must not end in one script.
finish = function(head)
    head[FINISHED] = now
    finished[#finished + 1] = head.id
    if head[IS_PARENT] then
        children_left = children_left - apply_parent(head, children_left, nil)
    end
end

-- Writes what the call changed. Returns the packed heads, which answers repeat.
local function flush()
    local packed, pairs_ = {}, {}
    for id, head in pairs(dirty) do
        head.id = nil
        packed[id] = cmsgpack.pack(head)
        head.id = id
        pairs_[#pairs_ + 1] = id
        pairs_[#pairs_ + 1] = packed[id]
        if #pairs_ == CHUNK then
            redis.call('HSET', key.heads, unpack(pairs_))
            pairs_ = {}
        end
    end
    if #pairs_ > 0 then
        redis.call('HSET', key.heads, unpack(pairs_))
    end
    for field, step in pairs(counted) do
        if step ~= 0 and redis.call('HINCRBY', key.counts, field, step) == 0 then
            redis.call('HDEL', key.counts, field)
        end
    end
    usage.flush()
    redis.call('HSET', key.meta, 'minted', minted)
    return packed
end
