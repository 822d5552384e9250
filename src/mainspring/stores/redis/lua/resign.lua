-- uses: reply
-- ARGV: candidate, number of the term that it gives up, if it is still its own.
local holder, number = unpack(redis.call('HMGET', key.term, 'holder', 'number'))
if holder == ARGV[1] and number == ARGV[2] then
    redis.call('HSET', key.term, 'expires_us', now)
end
return reply({})
