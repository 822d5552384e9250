-- uses: record
-- Limits, as `core/limits.py` has them: slots, and rates by GCRA. Every name's running tasks are counted, so
-- that a rule set later finds what ran before it.
local UNLIMITED = 1073741824
local MAX_RUNNING, RATE, INTERVAL_US, BURST, MAX_WAITING, RULE_TEXT = 1, 2, 3, 4, 5, 6

local has_rules = redis.call('HLEN', key.rules) > 0
local rules, used, freed, pauses = {}, {}, {}, {}

-- A rule that cannot be read lets nothing start: to lift a limit by accident may do more harm.
local function read_rule(packed)
    local rule = opened(packed)
    if not rule or type(rule[RULE_TEXT]) ~= 'string' then
        return {0, false, 1, false, false, ''}
    end
    return rule
end

-- The name's own rule, else its family's, else false.
local function rule_for(name)
    if not has_rules then
        return false
    end
    if rules[name] == nil then
        local family = string.match(name, '^[^:]*:') .. '*'
        local found = redis.call('HMGET', key.rules, name, family)
        local packed = found[1] or found[2]
        rules[name] = packed and read_rule(packed)
    end
    return rules[name]
end

-- What a name under a rule had in use before this call.
local function use_of(name)
    local use = used[name]
    if not use then
        use = {
            running = tonumber(redis.call('HGET', key.running, name) or 0),
            arrival = tonumber(redis.call('ZSCORE', key.arrivals, name) or 0),
        }
        used[name] = use
    end
    return use
end

local function running_now(name)
    return use_of(name).running + (sums[key.running][name] or 0)
end

local function is_paused(queue)
    if pauses[queue] == nil then
        pauses[queue] = redis.call('HEXISTS', key.paused, queue) == 1
    end
    return pauses[queue]
end

-- How many more tasks of the lane may start now, by its queue's pause and by every limit on it.
local function room(lane)
    if is_paused(lane[1]) then
        return 0
    end
    local free = UNLIMITED
    for _, name in ipairs(has_rules and lane.names or {}) do
        local rule = rule_for(name)
        if rule then
            if rule[MAX_RUNNING] then
                free = math.min(free, rule[MAX_RUNNING] - running_now(name))
            end
            if rule[RATE] then
                local burst = rule[BURST] or rule[RATE]
                local taken = math.max(use_of(name).arrival - now, 0) / rule[INTERVAL_US]
                free = math.min(free, math.floor(burst - taken + 1e-6))
            end
        end
    end
    return math.max(0, free)
end

local function book(name, count)
    local rule = rule_for(name)
    if rule and rule[RATE] then
        local use = use_of(name)
        use.arrival = math.max(use.arrival, now) + count * rule[INTERVAL_US]
        add(key.arrivals, name, use.arrival)
    end
end

usage.start = function(lane, count)
    local running = sums[key.running]
    for _, name in ipairs(lane.names) do
        running[name] = (running[name] or 0) + count
        if has_rules then
            book(name, count)
        end
    end
end

usage.stop = function(lane, count)
    local running = sums[key.running]
    for _, name in ipairs(lane.names) do
        running[name] = (running[name] or 0) - count
        if has_rules then
            freed[name] = true
        end
    end
end

-- What names under a rule have in use, those included that this call freed, and those of which nothing runs while their
-- rate is spent: a node that did not know would ask for their tasks again and again. After `flush`.
local function limited_usage()
    local found = {}
    if not has_rules then
        return found
    end
    local names, arrivals = {}, {}
    local booked = redis.call('ZRANGEBYSCORE', key.arrivals, string.format('(%.0f', now), '+inf', 'WITHSCORES')
    for n = 1, #booked, 2 do
        names[booked[n]], arrivals[booked[n]] = 0, tonumber(booked[n + 1])
    end
    for name in pairs(freed) do
        names[name] = 0
    end
    local running = redis.call('HGETALL', key.running)
    for n = 1, #running, 2 do
        names[running[n]] = tonumber(running[n + 1])
    end
    for name, count_now in pairs(names) do
        if rule_for(name) then
            found[#found + 1] = {name, count_now, arrivals[name] or 0}
        end
    end
    return found
end

-- A tenant's {weight, virtual time}; one that makes no sense is as if it had never been set.
local function read_share(packed)
    local share = packed and opened(packed)
    local weight, used_us = unpack(share or {})
    local is_sound = type(weight) == 'number' and type(used_us) == 'number' and weight > 0 and weight < math.huge
        and math.abs(used_us) < math.huge
    return is_sound and share or {1, 0}
end

local function share_of(tenant)
    return read_share(fetch(key.shares, tenant))
end
