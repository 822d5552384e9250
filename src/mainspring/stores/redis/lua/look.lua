-- uses: belonging, reply
-- Schedules. ARGV[1]: ids, or `due` with how many at most in ARGV[2]. Answers {ids, next look or false, their records or
-- 0}. Writes nothing.
local ids, next_look = nil, false
if ARGV[1] == 'due' then
    ids = redis.call('ZRANGEBYSCORE', key.looks, '-inf', now, 'LIMIT', 0, ARGV[2])
    next_look = tonumber(redis.call('ZRANGE', key.looks, #ids, #ids, 'WITHSCORES')[2]) or false
else
    ids = cmsgpack.unpack(ARGV[1])
end
return reply({ids, next_look, parts_of(key.schedules, ids)})
