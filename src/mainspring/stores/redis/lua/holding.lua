-- uses: record
-- Running tasks, by the claims that granted them. What a claim granted is written once, and not changed as its tasks
-- end: whoever looks there looks at the heads, too.
local function running_of(claim)
    local packed, found = fetch(key.claim_tasks, claim), {}
    local ids = packed and opened(packed) or {}
    load(ids)
    for _, id in ipairs(ids) do
        local head = heads[id]
        if head and head[STATE] == RUNNING and head[INCARNATION] and claim_of(head) == claim then
            found[#found + 1] = head
        end
    end
    return found
end

-- The claims of an incarnation that have running tasks, up to number `last`.
local function claims_held_by(incarnation, last)
    local numbers, found = fetch(key.holding, incarnation) or '', {}
    for first = 1, #numbers, 8 do
        local number = struct.unpack('>I8', numbers, first)
        if number <= last then
            found[#found + 1] = claims_of(incarnation, number)
        end
    end
    return found
end

local function running_count()
    local count = 0
    for _, open in ipairs(redis.call('HVALS', key.claim_open)) do
        count = count + tonumber(open)
    end
    return count
end

local function running_tasks()
    local found = {}
    for _, claim in ipairs(redis.call('HKEYS', key.claim_tasks)) do
        for _, head in ipairs(running_of(claim)) do
            found[#found + 1] = head.id
        end
    end
    return found
end
