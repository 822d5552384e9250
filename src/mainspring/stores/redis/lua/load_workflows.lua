-- uses: belonging, reply
-- Workflows of another store, whose tasks are here. ARGV[1]: lines. A line: {workflow, its place, what is kept of it,
-- {state, members that are gone}, tasks with parents before children, the parts of those that are callbacks}.

-- Parents stand before their children by the order of arrival, which names of other sets hold, too.
local function arrive_again(head)
    local letter = head[STATE] == FAILED and head[FINGERPRINT] and letter_of(head)
    local unique = head[UNIQUE] and prefixed(head[UNIQUE])
    if letter then
        remove(key.letters, letter)
    end
    if unique then
        remove(key.uniques, unique .. struct.pack('>I8', head[ORDINAL]) .. head.id)
    end
    head[ORDINAL] = mint()
    if letter then
        add(key.letters, letter_of(head))
    end
    if unique then
        add(key.uniques, unique .. struct.pack('>I8', head[ORDINAL]) .. head.id)
    end
end

local function is_in_order(tasks)
    local last = 0
    for _, id in ipairs(tasks) do
        if heads[id][ORDINAL] < last then
            return false
        end
        last = heads[id][ORDINAL]
    end
    return true
end

for _, line in ipairs(cmsgpack.unpack(ARGV[1])) do
    local workflow, place, kept, gone, tasks, parts = unpack(line)
    minted = math.max(minted, place)
    load(tasks)
    local in_order = is_in_order(tasks)
    for _, id in ipairs(tasks) do
        local head = heads[id]
        if not in_order then
            arrive_again(head)
        end
        dirty[id] = head
        belonging.joined(head, {workflow, kept, parts})
    end
    put(key.workflows, workflow, kept)
    add(key.founded, workflow, place)
    for _, count in ipairs(gone) do
        put(key.forgotten, count[1] .. ':' .. workflow, count[2])
    end
end
flush()
return reply({})
