-- uses: limits, reply
-- ARGV[1]: {tenant, weight}.
local tenant, weight = unpack(cmsgpack.unpack(ARGV[1]))
local share = share_of(tenant)
share[1] = weight
put(key.shares, tenant, cmsgpack.pack(share))
flush()
return reply({})
