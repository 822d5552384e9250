-- What a node ranks claims by. Answers {heads, paused, rules, usage, shares}; writes nothing. Looks at every lane
-- ever used: the driver to come keeps the active ones apart.
local function pairs_of(hash)
    local flat, found = redis.call('HGETALL', hash), {}
    for n = 1, #flat, 2 do
        found[#found + 1] = {flat[n], flat[n + 1]}
    end
    return found
end

for _, number in ipairs(redis.call('HKEYS', key.lanes)) do
    gained[tonumber(number)] = true
end
local rules_told, shares_told = pairs_of(key.rules), pairs_of(key.shares)
for _, rule in ipairs(rules_told) do
    rule[2] = cmsgpack.unpack(rule[2])[RULE_TEXT]
end
for _, share in ipairs(shares_told) do
    share[2] = cmsgpack.unpack(share[2])
end
return reply({ready_lanes(), pairs_of(key.paused), rules_told, limited_usage(), shares_told}, {})
