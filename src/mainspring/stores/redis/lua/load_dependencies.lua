-- uses: record, reply
-- What tasks of another store depend on; all of them are here. ARGV[1]: lines. A line: {task, parents, those of them for
-- which it waits}.
local lines, ids = cmsgpack.unpack(ARGV[1]), {}
for _, line in ipairs(lines) do
    ids[#ids + 1] = line[1]
    for _, parent in ipairs(line[2]) do
        ids[#ids + 1] = parent
    end
end
load(ids)

local function depend(head, parent, waits)
    local edge = prefixed(parent.id) .. head.id
    if head[STATE] <= RUNNING then
        add(key.dependents, edge)
    end
    if waits then
        head[OPEN_PARENTS] = head[OPEN_PARENTS] + 1
        add(key.edges, edge)
        if parent[STATE] > RUNNING then
            add(key.unresolved, parent.id, now)
        end
    end
    parent[IS_PARENT] = true
    dirty[parent.id] = parent
end

for _, line in ipairs(lines) do
    local head, waits = heads[line[1]], {}
    for _, parent in ipairs(line[3]) do
        waits[parent] = true
    end
    put(key.parents, head.id, cmsgpack.pack(line[2]))
    note_kept(head, KEPT_PARENTS, true)
    head[OPEN_PARENTS] = 0
    dirty[head.id] = head
    for _, parent in ipairs(line[2]) do
        if heads[parent] then
            depend(head, heads[parent], waits[parent])
        end
    end
end
flush()
return reply({})
