-- uses: record, limits, belonging
-- The one door for every change of state, which keeps lines, holders, times and counts; and what an end means for
-- the tasks that wait for it.
local allowed, keeps_place, effects = ALLOWED_STEPS, KEEPS_PLACE, EFFECTS
local gained, finished, ended = {}, {}, {}
local children_left = CHILDREN_RELEASED_AT_ONCE

local function is_past(instant)
    return instant and tonumber(instant) < now
end

local function due_state(run_at)
    return run_at and tonumber(run_at) > now and SCHEDULED or READY
end

-- How a task's last run ended; `false` forgets it.
local function end_as(head, text)
    if text or keeps(head, KEPT_END) then
        put(key.ends, head.id, text)
        note_kept(head, KEPT_END, text)
    end
end

local function parents_of(head)
    local packed = keeps(head, KEPT_PARENTS) and fetch(key.parents, head.id)
    return packed and cmsgpack.unpack(packed) or {}
end

-- --- indexes -------------------------------------------------------------------------------------
local function leave(head)
    local state, lane = head[STATE], lane_for(head)
    sum(key.counts, lane.counts[state], -1)
    if state == READY then
        remove(key.ready, place_in_line(head))
    elseif state == RUNNING then
        sum(key.claim_open, claim_of(head), -1)
        if head[TIMEOUT_AT] then
            remove(key.timeouts, head.id)
        end
        usage.stop(lane, 1)
    else
        remove(key.places, place_of(head))
    end
    if state == SCHEDULED then
        remove(key.due, head.id)
    elseif state == FAILED then
        belonging.replayed(head)
    end
    if state <= READY and head[DEADLINE] then
        remove(key.deadlines, head.id)
    end
end

local function enter(head, is_placed)
    local state, lane = head[STATE], lane_for(head)
    sum(key.counts, lane.counts[state], 1)
    if state == READY then
        if not head[SEQ] or not is_placed then
            head[SEQ] = mint()
        end
        add(key.ready, place_in_line(head))
        gained[head[LANE]] = true
    elseif state == RUNNING then
        sum(key.claim_open, claim_of(head), 1)
        if head[TIMEOUT_AT] then
            add(key.timeouts, head.id, head[TIMEOUT_AT])
        end
        usage.start(lane, 1)
    else
        add(key.places, place_of(head))
    end
    if state == SCHEDULED then
        add(key.due, head.id, head[RUN_AT])
    elseif state == FAILED then
        belonging.died(head)
    end
    if state <= READY then
        head[WORKER], head[FINISHED] = false, false
        if head[DEADLINE] then
            add(key.deadlines, head.id, head[DEADLINE])
        end
    end
    if head[SCHEDULE] then
        belonging.moved(head)
    end
end

local function note_history(id, number, step)
    add(key.history, prefixed(id) .. struct.pack('>I8', number) .. cmsgpack.pack(step))
end

local function note_step(head, old, cause)
    if KEEPS_HISTORY then
        note_history(head.id, mint(), {now, old, cause, head[STATE], head[ATTEMPT], head[TOKEN]})
    end
end

-- --- the door ------------------------------------------------------------------------------------
local function check_step(head, old, cause, state)
    if not allowed[cause * 100 + old * 10 + state] then
        error('cause ' .. cause .. ' must not move task ' .. head.id .. ' from ' .. old .. ' to ' .. state)
    end
end

-- Unfinished again: its parents must not be forgotten before it ends.
local function depend(head)
    local parents = parents_of(head)
    load(parents)
    for _, parent in ipairs(parents) do
        if heads[parent] then
            add(key.dependents, prefixed(parent) .. head.id)
        end
    end
end

local function finish(head)
    head[FINISHED] = now
    finished[#finished + 1] = head.id
    if keeps(head, KEPT_PARENTS) then
        for _, parent in ipairs(parents_of(head)) do
            remove(key.dependents, prefixed(parent) .. head.id)
        end
    end
    if head[IS_PARENT] then
        ended[#ended + 1] = head
    end
end

-- Fields that the new state reads (run_at, worker ...) are set before.
local function move(head, cause, state)
    local old = head[STATE]
    check_step(head, old, cause, state)
    leave(head)
    if old == RUNNING then
        head[LEASE_UNTIL], head[TIMEOUT_AT] = false, false
    elseif old == BLOCKED and head[OPEN_PARENTS] > 0 then
        for _, parent in ipairs(parents_of(head)) do
            remove(key.edges, prefixed(parent) .. head.id)
        end
        head[OPEN_PARENTS] = 0
    end
    head[STATE] = state
    touch(head)
    enter(head, keeps_place[cause])
    if state > RUNNING then
        finish(head)
    elseif old > RUNNING then
        depend(head)
    end
    note_step(head, old, cause)
end

-- --- ends of parents -----------------------------------------------------------------------------

-- Whether a task runs, now that every parent has released it: under ONLY it does after a bad end only.
local function may_run(child)
    if child[ON_PARENT_FAILURE] ~= RULE_ONLY then
        return true
    end
    local parents = parents_of(child)
    load(parents)
    for _, id in ipairs(parents) do
        if heads[id] and heads[id][STATE] ~= SUCCEEDED then
            return true
        end
    end
    return false
end

local function release(child)
    child[OPEN_PARENTS] = child[OPEN_PARENTS] - 1
    dirty[child.id] = child
    if child[OPEN_PARENTS] > 0 then
        return
    end
    if may_run(child) then
        move(child, CAUSE_UNBLOCK, due_state(child[RUN_AT]))
    else
        end_as(child, SPARED_END)
        move(child, CAUSE_SPARE, CANCELLED)
    end
end

local function apply_edge(child, edge, effect)
    remove(key.edges, edge)
    if effect == EFFECT_DOOM then
        end_as(child, DOOMED_END)
        move(child, CAUSE_DOOM, CANCELLED)
    else
        release(child)
    end
end

local function open_edges(parent, first, count)
    local prefix = prefixed(parent)
    return redis.call(
        'ZRANGEBYLEX', key.edges, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', first, count
    )
end

-- Applies a final parent to up to `limit` of its blocked children; how many. Children that it dooms are left
-- to a later pass unless it `dooms`. Once there is something left, no more is read: that pass will.
local function apply_parent(head, limit, dooms)
    local prefix, read_so_far, applied, left = prefixed(head.id), 0, 0, false
    local effect_of = effects[head[STATE]]
    sync(key.edges)
    local all_read = false
    while applied < limit and not left and not all_read do
        local edges, children = open_edges(head.id, read_so_far, CHILDREN_RELEASED_AT_ONCE), {}
        for n, edge in ipairs(edges) do
            children[n] = string.sub(edge, #prefix + 1)
        end
        load(children)
        for n, edge in ipairs(edges) do
            local child = heads[children[n]]
            local effect = child and child[STATE] == BLOCKED and effect_of[child[ON_PARENT_FAILURE]]
            if not effect then
                remove(key.edges, edge)
            elseif effect ~= EFFECT_HOLD then
                if applied == limit or effect == EFFECT_DOOM and not dooms then
                    left = true
                else
                    applied = applied + 1
                    apply_edge(child, edge, effect)
                end
            end
        end
        read_so_far = read_so_far + #edges
        all_read = #edges < CHILDREN_RELEASED_AT_ONCE
    end
    if left or not all_read and #open_edges(head.id, read_so_far, 1) > 0 then
        add(key.unresolved, head.id, now)
    else
        remove(key.unresolved, head.id)
    end
    return applied
end

-- Applies the tasks that this call ended to up to 500 children. The rest, and those that a failed parent dooms,
-- are left to `resolve`: a wide or deep graph must not end in one script.
local function release_children()
    while #ended > 0 do
        local parents = ended
        ended = {}
        for _, parent in ipairs(parents) do
            if parent[STATE] > RUNNING then
                children_left = children_left - apply_parent(parent, children_left, false)
            end
        end
    end
end
