-- uses: auditing, holding
-- What there really is: tasks by lane, by queue and state, and by the limits that running ones are under. False where
-- there is more than may be counted in one go.
local COUNTED_WHOLE = 4294967296

local function count(counted, name, n)
    counted[name] = (counted[name] or 0) + n
end

local function readable_lane(number)
    local is_read, lane = pcall(lane_of, number)
    return is_read and lane and lane[5] and lane
end

-- Nothing is kept of the heads, and of each only the lane is read: there may be millions.
local function count_by_lane(uses)
    local from = '-'
    while true do
        local ids = redis.call('ZRANGEBYLEX', key.tasks, from, '+', 'LIMIT', 0, CHUNK)
        if #ids == 0 then
            return
        end
        for _, packed in ipairs(redis.call('HMGET', key.heads, unpack(ids))) do
            local is_read, lane = pcall(lane_in, packed)
            if is_read then
                count(uses, string.format('%.0f', lane), 1)
            end
        end
        from = '(' .. ids[#ids]
    end
end

-- Ready tasks by lane, and how many tasks in any state each lane has, if they can be counted.
local function lanes_counted(most, most_tasks)
    if redis.call('HLEN', key.lanes) > most then
        return false
    end
    local uses, found = {}, {}
    local is_counted = redis.call('ZCARD', key.tasks) <= most_tasks
    if is_counted then
        count_by_lane(uses)
    end
    local numbers = {}
    for _, table_ in ipairs({key.lanes, key.lane_uses}) do
        for _, number in ipairs(redis.call('HKEYS', table_)) do
            numbers[number] = true
        end
    end
    for number in pairs(numbers) do
        local lane = readable_lane(tonumber(number))
        local booked = redis.call('HGET', key.lane_uses, number)
        local named = lane and redis.call('HGET', key.lane_ids, lane.text)
        found[#found + 1] = {
            number, part(booked), is_counted and (uses[number] or 0), lane and lane[1] or false, named == number,
        }
    end
    return found
end

-- Running tasks by the names of their limits, and their number by queue.
local function running_counted(counted, most)
    if running_count() > most then
        return false
    end
    local found = {}
    for _, id in ipairs(running_tasks()) do
        local head = head_of(id)
        local lane = head and head[STATE] == RUNNING and readable_lane(head[LANE])
        if lane then
            count(counted, RUNNING .. ':' .. lane[1], 1)
            for _, name in ipairs(lane.names) do
                count(found, name, 1)
            end
        end
    end
    return found
end

local function counted_by_index(lanes_here)
    local counted, queues = {}, {}
    for _, told in ipairs(lanes_here) do
        if told[4] then
            local number = tonumber(told[1])
            local from, to = '[' .. struct.pack('>I8', number), '(' .. struct.pack('>I8', number + 1)
            count(counted, READY .. ':' .. told[4], redis.call('ZLEXCOUNT', key.ready, from, to))
            queues[told[4]] = true
        end
    end
    for queue in pairs(queues) do
        for _, state in ipairs({BLOCKED, SCHEDULED, SUCCEEDED, FAILED, CANCELLED}) do
            local prefix = string.char(state) .. prefixed(queue)
            local n = redis.call('ZLEXCOUNT', key.places, '[' .. prefix, '(' .. prefix .. '\255')
            count(counted, state .. ':' .. queue, n)
        end
    end
    return counted
end
