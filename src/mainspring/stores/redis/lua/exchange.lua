-- Settles, then submits, then claims, and the tenants' charges {tenant, cost_us, floor_us}: one script, one
-- write to the log. ARGV[1] is the packed request {settles, submits, claims, charges, lengths}; ARGV[2] is the
-- blob of all opaque strings, which lines name by their number. Answers {submits, settles, claims, ready, usage}.
-- Everything is unpacked before the first write: a request that is no request changes nothing.
local settles, submits, claims, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)
for _, line in ipairs(settles) do
    for _, change in ipairs({line[5], line[6] or nil}) do
        change[8], change[9] = opaque[change[8]], opaque[change[9]]
    end
end
for _, group in ipairs(submits) do
    open_group(group, opaque)
end

local settled, submitted, granted = settle_all(settles), submit_all(submits), claim_all(claims)
for _, charge in ipairs(charges) do
    local share = share_of(charge[1])
    share[2] = math.max(share[2], charge[3]) + charge[2] / share[1]
    redis.call('HSET', key.shares, charge[1], cmsgpack.pack(share))
end
local packed = flush()
return reply({submitted, settled, granted, ready_lanes(), limited_usage()}, packed)
