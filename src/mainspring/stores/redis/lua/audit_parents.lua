-- uses: auditing
-- Parents whose edges name a task as their child. ARGV: the child, the cursor in `dependents`, about how many edges to look
-- at. Answers {parents, next cursor}. Writes nothing.
local found, parents = redis.call('ZSCAN', key.dependents, ARGV[2], 'COUNT', ARGV[3]), {}
for n = 1, #found[2], 2 do
    local is_read, parent, from = pcall(name_at, found[2][n], 1)
    if is_read and string.sub(found[2][n], from) == ARGV[1] then
        parents[#parents + 1] = parent
    end
end
return reply({parents, found[1]})
