-- uses: limits, reply
-- ARGV: name, rule or '' to remove it, '1' to leave one as it is that is there. Answers whether there was one. Starts
-- that were booked under the old rule are brought within reach of the new one, as in `core/limits.py`.
local function refit()
    local booked = redis.call('ZRANGE', key.arrivals, 0, -1, 'WITHSCORES')
    for n = 1, #booked, 2 do
        local rule = rule_for(booked[n])
        if rule and rule[RATE] then
            local full_at = now + (rule[BURST] or rule[RATE]) * rule[INTERVAL_US]
            if tonumber(booked[n + 1]) > full_at then
                redis.call('ZADD', key.arrivals, full_at, booked[n])
            end
        end
    end
end

local name, rule = ARGV[1], ARGV[2]
local was_there = redis.call('HEXISTS', key.rules, name) == 1
if was_there and ARGV[3] == '1' then
    return reply(true)
end
if rule == '' then
    redis.call('HDEL', key.rules, name)
else
    redis.call('HSET', key.rules, name, rule)
end
has_rules = redis.call('HLEN', key.rules) > 0
refit()
return reply(was_there)
