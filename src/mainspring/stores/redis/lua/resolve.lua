-- What settling left of ended parents, one level a pass. ARGV: how many children at most, how a doomed one ends.
-- Answers {count, ready, finished}.
local limit, applied = tonumber(ARGV[1]), 0
local parents = redis.call('SRANDMEMBER', key.unresolved, limit)
load(parents)
for _, id in ipairs(parents) do
    local parent = heads[id]
    if not parent or parent[STATE] <= RUNNING then
        -- Replayed meanwhile: its next end decides.
        redis.call('SREM', key.unresolved, id)
    elseif applied < limit then
        applied = applied + apply_parent(parent, limit - applied, ARGV[2])
    end
end
local packed = flush()
return reply({applied, ready_lanes(), finished}, packed)
