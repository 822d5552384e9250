-- uses: auditing
-- Edges are mended if what they join is as it was read. ARGV[1]: lines {parent, child, `note`, `close`, `drop` or `list`,
-- states of parent and child or false}. Answers for each whether it was done.
local function state_now(id)
    local head = head_of(id)
    return head and head[STATE] or false
end

local function mend(line)
    local parent, child, what, parent_state, child_state = unpack(line)
    local edge = prefixed(parent) .. child
    if state_now(parent) ~= parent_state or state_now(child) ~= child_state then
        return false
    end
    if what == 'note' then
        add(key.unresolved, parent, now)
    elseif what == 'list' then
        add(key.dependents, edge)
    else
        remove(key.edges, edge)
        if what == 'drop' then
            remove(key.dependents, edge)
        end
    end
    return true
end

local answers = {}
for n, line in ipairs(cmsgpack.unpack(ARGV[1])) do
    answers[n] = mend(line)
end
flush()
return reply(answers)
