-- uses: settle, submit, claim
-- Settles, then submits, then claims, and the tenants' charges {tenant, cost_us, floor_us}: one script, one
-- write to the log. ARGV[1] is the packed request {settles, submits, claims, charges, lengths}; ARGV[2] is the
-- blob of all opaque strings, which lines name by their number; ARGV[3] and ARGV[4] are the node's name and the
-- channel of hints. Answers {submits, settles, claims, ready, usage, whether tasks have ended}.
local settles, submits, claims, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)
for _, line in ipairs(settles) do
    open_settlement(line, opaque)
end
for _, group in ipairs(submits) do
    open_group(group, opaque)
end

local takes = #submits == 0 or has_memory()
go_on_when_full()
local settled = settle_all(settles)
local submitted = takes and submit_all(submits) or refuse_all(submits)
local granted = claim_all(claims)
for _, charge in ipairs(charges) do
    local share = share_of(charge[1])
    share[2] = math.max(share[2], charge[3]) + charge[2] / share[1]
    put(key.shares, charge[1], cmsgpack.pack(share))
end
flush()

-- Told here, and not by a call of its own, so that other nodes know as soon as can be (`hints.py`).
local LANES_TOLD = 180
local name, channel = ARGV[3], ARGV[4]
local function tell(heads)
    local places = {}
    for n, head in ipairs(heads) do
        places[n] = string.format('%.0f:%.0f', head[1], head[2])
    end
    local news = #heads > LANES_TOLD and '* ' or ' ' .. table.concat(places, ',')
    redis.call('HINCRBY', key.meta, 'signals', 1)
    redis.call('PUBLISH', channel, name .. ' ' .. news)
end

local ready = heads_of_lanes(gained)
if #ready > 0 then
    tell(ready)
end
return reply({submitted, settled, granted, ready, limited_usage(), #finished > 0})
