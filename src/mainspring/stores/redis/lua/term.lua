-- uses: reply
-- Answers {holder, number, for how long} of the term that runs; {} while nobody leads.
local holder, number, expires = unpack(redis.call('HMGET', key.term, 'holder', 'number', 'expires_us'))
local left = (tonumber(expires or 0) or 0) - now
return reply(left > 0 and {holder, tonumber(number or 0) or 0, left} or {})
