-- ARGV[1]: {tenant, weight}.
local tenant, weight = unpack(cmsgpack.unpack(ARGV[1]))
local share = share_of(tenant)
share[1] = weight
redis.call('HSET', key.shares, tenant, cmsgpack.pack(share))
return reply({}, flush())
