-- uses: counting
-- The books, and what there really is. ARGV[1]: so many lanes, running tasks or groups are counted at most, and so many
-- tasks by ARGV[2]. Opaque texts go by number. Answers {counts, counted or false, lanes or false, rules, arrivals,
-- running tasks by name, the same counted or false, shares, workers, when the term ends, groups that are wrong, the last
-- number given out}. Writes nothing.
local most, most_tasks = tonumber(ARGV[1]), tonumber(ARGV[2])

local function fields_of(hash)
    local flat, found = redis.call('HGETALL', hash), {}
    for n = 1, #flat, 2 do
        found[#found + 1] = {flat[n], part(flat[n + 1])}
    end
    return found
end

local function pairs_of(counted)
    local found = {}
    for name, n in pairs(counted) do
        found[#found + 1] = {name, n}
    end
    return found
end

-- {fingerprint, size as booked, letters as counted}
local function wrong_groups()
    local wrong, seen = {}, {}
    if redis.call('ZCARD', key.groups) > most then
        return wrong
    end
    local function look_at(fingerprint)
        local from, to = '[' .. fingerprint, '(' .. fingerprint .. '\255'
        local booked = -tonumber(redis.call('ZSCORE', key.groups, fingerprint) or 0)
        local there = redis.call('ZLEXCOUNT', key.letters, from, to)
        seen[fingerprint] = true
        if booked ~= there then
            wrong[#wrong + 1] = {fingerprint, booked, there}
        end
    end
    for _, fingerprint in ipairs(redis.call('ZRANGE', key.groups, 0, -1)) do
        look_at(fingerprint)
    end
    local from = '-'
    while true do
        local first = redis.call('ZRANGEBYLEX', key.letters, from, '+', 'LIMIT', 0, 1)[1]
        if not first then
            return wrong
        end
        local fingerprint = string.sub(first, 1, 16)
        if not seen[fingerprint] then
            look_at(fingerprint)
        end
        from = '(' .. fingerprint .. '\255'
    end
end

local lanes_here = lanes_counted(most, most_tasks)
local counted = lanes_here and counted_by_index(lanes_here)
local running = counted and running_counted(counted, most)
return reply({
    fields_of(key.counts), counted and running and pairs_of(counted), lanes_here, fields_of(key.rules),
    redis.call('ZRANGE', key.arrivals, 0, most, 'WITHSCORES'), fields_of(key.running),
    running and pairs_of(running), fields_of(key.shares), fields_of(key.workers),
    tonumber(redis.call('HGET', key.term, 'expires_us') or 0), wrong_groups(), minted,
})
