-- uses: moves
-- What people and decisions do to a task: cancelling it, and letting it start over.
local function fence(head)
    head[TOKEN] = mint_above(head[TOKEN])
end

local function kill(head)
    if head[STATE] > RUNNING then
        return false
    end
    head[CANCEL_AT] = head[CANCEL_AT] or now
    fence(head)
    move(head, CAUSE_CANCEL, CANCELLED)
    return true
end

local function cancel(head)
    if head[STATE] ~= RUNNING then
        return kill(head)
    end
    if not head[CANCEL_AT] then
        head[CANCEL_AT] = now
        touch(head)
    end
    return true
end

-- Makes a final task as if it had never run. Attempts stay on record; result and error do not.
local function start_over(head)
    head[ATTEMPT], head[RETRIES], head[LOSSES], head[SNOOZES] = 0, 0, 0, 0
    head[CANCEL_AT], head[STARTED] = false, false
    if is_past(head[DEADLINE]) then
        head[DEADLINE] = false
    end
    end_as(head, false)
    fence(head)
end

-- A parent that had ended runs once more: children that are still blocked wait for it as before.
local function wait_again(parent)
    sync(key.dependents)
    sync(key.edges)
    local prefix = prefixed(parent)
    local children = members_with(key.dependents, prefix)
    load(children)
    for _, id in ipairs(children) do
        local child = heads[id]
        if child and child[STATE] == BLOCKED and not redis.call('ZSCORE', key.edges, prefix .. id) then
            add(key.edges, prefix .. id)
            child[OPEN_PARENTS] = child[OPEN_PARENTS] + 1
            dirty[id] = child
        end
    end
end
