-- uses: reply
-- ARGV: candidate, for how long. A term that ran out is over even for its holder: what it did not renew in time, it
-- lost. Answers {holder, number, for how long}.
local candidate, ttl = ARGV[1], tonumber(ARGV[2])
local holder, number, expires = unpack(redis.call('HMGET', key.term, 'holder', 'number', 'expires_us'))
number, expires = tonumber(number or 0), tonumber(expires or 0)
if expires <= now then
    holder, number, expires = candidate, math.max(number + 1, mint()), now + ttl
elseif holder == candidate then
    expires = now + ttl
end
go_on_when_full()
redis.call('HSET', key.term, 'holder', holder, 'number', number, 'expires_us', expires)
flush()
return reply({holder, number, expires - now})
