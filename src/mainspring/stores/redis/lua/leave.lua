-- uses: reply
-- ARGV: worker, incarnation. It is forgotten, unless another incarnation has taken the name.
local packed = redis.call('HGET', key.workers, ARGV[1])
if packed and cmsgpack.unpack(packed)[1] == ARGV[2] then
    redis.call('HDEL', key.workers, ARGV[1])
end
return reply({})
