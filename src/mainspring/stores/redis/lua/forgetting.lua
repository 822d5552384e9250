-- uses: moves
-- Forgetting a final task, and every trace of it but its idempotency key, whose promise outlives it.

-- Whether an unfinished task depends on this one.
local function is_needed(task)
    sync(key.dependents)
    local prefix = prefixed(task)
    local found = redis.call(
        'ZRANGEBYLEX', key.dependents, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, 1
    )
    return #found > 0
end

local function forget_progress(head, prefix)
    if keeps(head, KEPT_STEPS) then
        for _, rest in ipairs(members_with(key.step_names, prefix)) do
            put(key.steps, prefix .. string.sub(rest, 9), false)
            remove(key.step_names, prefix .. rest)
        end
    end
    if keeps(head, KEPT_LOG) then
        for _, rest in ipairs(members_with(key.log_ends, prefix)) do
            put(key.log_blocks, prefix .. string.sub(rest, 1, 8), false)
            remove(key.log_ends, prefix .. rest)
        end
        put(key.log_heads, head.id, false)
        remove(key.long_logs, head.id)
    end
end

local function forget_fields(head)
    local hashes_of = {
        [KEPT_END] = key.ends, [KEPT_ATTEMPTS] = key.attempts, [KEPT_CHECKPOINT] = key.checkpoints,
        [KEPT_PROGRESS] = key.progress, [KEPT_PARENTS] = key.parents,
    }
    for kept, hash in pairs(hashes_of) do
        if keeps(head, kept) then
            put(hash, head.id, false)
        end
    end
end

local function forget(head)
    local id, lane = head.id, lane_for(head)
    belonging.forgotten(head)
    sum(key.counts, head[STATE] .. ':' .. lane[1], -1)
    sum(key.lane_uses, head[LANE], -1)
    remove(key.places, place_of(head))
    remove(key.tasks, id)
    remove(key.unresolved, id)
    if head[UNIQUE] then
        remove(key.uniques, prefixed(head[UNIQUE]) .. struct.pack('>I8', head[ORDINAL]) .. id)
    end
    forget_fields(head)
    forget_progress(head, prefixed(id))
    for _, rest in ipairs(KEEPS_HISTORY and members_with(key.history, prefixed(id)) or {}) do
        remove(key.history, prefixed(id) .. rest)
    end
    put(key.heads, id, false)
    put(key.bodies, id, false)
    heads[id], dirty[id] = false, nil
end
