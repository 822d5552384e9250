-- uses: reply
-- ARGV[1]: the copy that begins to fill the store. Answers what there is in it already, or false: then the store is
-- marked as being filled. What an earlier copy has left behind is removed, and what tasks have that were all forgotten.
local kept = {meta = true, term = true, workers = true}
local earlier = redis.call('HGET', key.meta, 'loading')

local function what_is_there()
    local there = {
        {'tasks', redis.call('ZCARD', key.tasks)}, {'workflows', redis.call('HLEN', key.workflows)},
        {'idempotency keys', redis.call('ZCOUNT', key.expiring, now + 1, '+inf')},
        {'schedules', redis.call('HLEN', key.schedules)},
        {'limits', redis.call('HLEN', key.rules)}, {'pauses', redis.call('HLEN', key.paused)},
    }
    for _, found in ipairs(there) do
        if found[2] > 0 then
            return found[1]
        end
    end
    for _, packed in ipairs(redis.call('HVALS', key.shares)) do
        if cmsgpack.unpack(packed)[1] ~= 1 then
            return 'weights'
        end
    end
    return false
end

local function empty()
    for name in pairs(key) do
        if not kept[name] then
            redis.call('UNLINK', key[name])
        end
    end
end

local there = not earlier and what_is_there()
if not there then
    if earlier ~= ARGV[1] then
        empty()
    end
    redis.call('HSET', key.meta, 'loading', ARGV[1])
end
return reply(there)
