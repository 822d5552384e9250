-- uses: moves, reply
-- What settling left of ended parents, one level a pass. ARGV[1]: how many children at most.
-- Answers {count, ready, finished}.
local limit, applied = tonumber(ARGV[1]), 0
local parents = redis.call('ZRANGE', key.unresolved, 0, limit - 1)
load(parents)
for _, id in ipairs(parents) do
    local parent = heads[id]
    if not parent or parent[STATE] <= RUNNING then
        -- Replayed meanwhile: its next end decides.
        remove(key.unresolved, id)
    elseif applied < limit then
        applied = applied + apply_parent(parent, limit - applied, true)
    end
end
release_children()
go_on_when_full()
flush()
return reply({applied, heads_of_lanes(gained), finished})
