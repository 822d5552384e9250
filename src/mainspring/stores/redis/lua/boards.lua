-- uses: limits, reply
-- What a node ranks claims by: {heads, paused, rules, usage, shares}. Writes nothing.
local function pairs_of(hash)
    local flat, found = redis.call('HGETALL', hash), {}
    for n = 1, #flat, 2 do
        found[#found + 1] = {flat[n], flat[n + 1]}
    end
    return found
end

-- From each lane's head the next lane is looked for, so that only lanes with ready tasks cost anything.
local function all_heads()
    local found, from = {}, '-'
    while true do
        local first = redis.call('ZRANGEBYLEX', key.ready, from, '+', 'LIMIT', 0, 1)[1]
        if not first then
            return found
        end
        local number, seq = struct.unpack('>I8I8', first)
        if lane_of(number) then
            told_lanes[number] = true
            found[#found + 1] = {number, seq}
        end
        from = '[' .. struct.pack('>I8', number + 1)
    end
end

local function board()
    local rules_told, shares_told = pairs_of(key.rules), pairs_of(key.shares)
    for _, rule in ipairs(rules_told) do
        rule[2] = read_rule(rule[2])[RULE_TEXT]
    end
    for _, share in ipairs(shares_told) do
        share[2] = read_share(share[2])
    end
    return {all_heads(), pairs_of(key.paused), rules_told, limited_usage(), shares_told}
end
