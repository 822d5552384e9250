-- Limits, as `core/limits.py` has them: slots, and rates by GCRA. Every name's running tasks are counted, so
-- that a rule set later finds what ran before it.
local UNLIMITED = 1073741824
local MAX_RUNNING, RATE, INTERVAL_US, BURST, MAX_WAITING, RULE_TEXT = 1, 2, 3, 4, 5, 6

local has_rules = redis.call('HLEN', key.rules) > 0
local rules, used, freed = {}, {}, {}

-- The name's own rule, else its family's, else false.
local function rule_for(name)
    if not has_rules then
        return false
    end
    if rules[name] == nil then
        local family = string.match(name, '^[^:]*:') .. '*'
        local found = redis.call('HMGET', key.rules, name, family)
        local packed = found[1] or found[2]
        rules[name] = packed and cmsgpack.unpack(packed)
    end
    return rules[name]
end

-- `added` is what this call changed; it is written by `flush`.
local function use_of(name)
    local use = used[name]
    if not use then
        use = {added = 0}
        if has_rules then
            use.running = tonumber(redis.call('HGET', key.running, name) or 0)
            use.arrival = tonumber(redis.call('HGET', key.arrivals, name) or 0)
        end
        used[name] = use
    end
    return use
end

-- How many more tasks of the lane may start now, by its queue's pause and by every limit on it.
local function room(lane)
    if redis.call('HEXISTS', key.paused, lane[1]) == 1 then
        return 0
    end
    local free = UNLIMITED
    for _, name in ipairs(has_rules and lane.names or {}) do
        local rule = rule_for(name)
        if rule then
            local use = use_of(name)
            if rule[MAX_RUNNING] then
                free = math.min(free, rule[MAX_RUNNING] - use.running - use.added)
            end
            if rule[RATE] then
                local burst = rule[BURST] or rule[RATE]
                local taken = math.max(use.arrival - now, 0) / rule[INTERVAL_US]
                free = math.min(free, math.floor(burst - taken + 1e-6))
            end
        end
    end
    return math.max(0, free)
end

usage.start = function(lane)
    for _, name in ipairs(lane.names) do
        local use, rule = use_of(name), rule_for(name)
        use.added = use.added + 1
        if rule and rule[RATE] then
            use.arrival = math.max(use.arrival, now) + rule[INTERVAL_US]
            use.is_late = true
        end
    end
end

usage.stop = function(lane)
    for _, name in ipairs(lane.names) do
        local use = use_of(name)
        use.added = use.added - 1
        freed[name] = true
    end
end

usage.flush = function()
    for name, use in pairs(used) do
        if use.added ~= 0 and redis.call('HINCRBY', key.running, name, use.added) == 0 then
            redis.call('HDEL', key.running, name)
        end
        if use.is_late then
            redis.call('HSET', key.arrivals, name, use.arrival)
        end
    end
end

-- What names under a rule have in use, those included that this call freed. After `flush`.
local function limited_usage()
    local found = {}
    if not has_rules then
        return found
    end
    local running = redis.call('HGETALL', key.running)
    local names = {}
    for n = 1, #running, 2 do
        names[running[n]] = tonumber(running[n + 1])
    end
    for name in pairs(freed) do
        names[name] = names[name] or 0
    end
    for name, count_now in pairs(names) do
        if rule_for(name) then
            local arrival = tonumber(redis.call('HGET', key.arrivals, name) or 0)
            found[#found + 1] = {name, count_now, arrival}
        end
    end
    return found
end

-- A tenant's {weight, virtual time}.
local function share_of(tenant)
    local packed = redis.call('HGET', key.shares, tenant)
    return packed and cmsgpack.unpack(packed) or {1, 0}
end
