-- uses: auditing
-- Edges between tasks. ARGV[1]: packed pairs {parent, child}, or '' for those from ARGV[2] on ('dependents' or 'edges',
-- and the cursor in it, ARGV[3]), about ARGV[4] of them. Answers {edges, next set or false, next cursor}; an edge:
-- {parent, child, whether it is open, whether it is listed, states of both or false, the child's rule, whether the
-- parent is noted for `resolve`}. Writes nothing.
local edges = {}

local function state_of(id)
    local head = head_of(id)
    if head then
        return type(head[STATE]) == 'number' and head[STATE] or 0
    end
    return redis.call('HEXISTS', key.heads, id) == 1 and 0 or false
end

local function look_at(parent, child)
    local edge, head = prefixed(parent) .. child, head_of(child)
    edges[#edges + 1] = {
        parent, child, redis.call('ZSCORE', key.edges, edge) and 1 or 0,
        redis.call('ZSCORE', key.dependents, edge) and true or false, state_of(parent), state_of(child),
        head and head[ON_PARENT_FAILURE] or RULE_CANCEL, redis.call('ZSCORE', key.unresolved, parent) and true or false,
    }
end

local set, cursor, left = ARGV[2], ARGV[3], tonumber(ARGV[4] or 0)
if ARGV[1] ~= '' then
    for _, pair in ipairs(cmsgpack.unpack(ARGV[1])) do
        look_at(pair[1], pair[2])
    end
    return reply({edges, false, '0'})
end
while left > 0 and set do
    local found = redis.call('ZSCAN', key[set], cursor, 'COUNT', math.min(left, CHUNK))
    for n = 1, #found[2], 2 do
        local is_read, parent, from = pcall(name_at, found[2][n], 1)
        local child = is_read and string.sub(found[2][n], from)
        -- An edge that is in both is looked at once.
        if child and (set == 'dependents' or not redis.call('ZSCORE', key.dependents, found[2][n])) then
            look_at(parent, child)
        end
        left = left - 1
    end
    cursor = found[1]
    if cursor == '0' then
        set = set == 'dependents' and 'edges' or false
    end
end
return reply({edges, set, cursor})
