-- uses: moves, reply, opaque
-- Groups: {tasks, key or false, workflow or false}. A task: {id, lane, delay_us, run_at, timeout, deadline, parents,
-- unique, on_parent_failure, body, name}; unique: {digest, states, period_us} or false. A key: {name, digest, ttl_us}.
-- A workflow: {id, what is kept of it, the parts of its tasks that are callbacks}.
-- A group is looked at whole before anything of it is written.
local PAGE = 50
local holds_new = HOLDS_NEW

-- A group as it is meant: with its opaque strings, and states to be looked up.
local function open_group(group, opaque)
    for _, task in ipairs(group[1]) do
        task[10] = opaque[task[10]]
        if task[8] then
            local states = {}
            for _, state in ipairs(task[8][2]) do
                states[state] = true
            end
            task[8][2] = states
        end
    end
end

local function open_groups(groups, opaque)
    for _, group in ipairs(groups) do
        open_group(group, opaque)
    end
end

local function forget_expired_keys()
    local names = redis.call('ZRANGEBYSCORE', key.expiring, '-inf', now, 'LIMIT', 0, 100)
    for _, name in ipairs(names) do
        put(key.idempotency, name, false)
        remove(key.expiring, name)
    end
end

local function earlier_use(wanted)
    local packed = fetch(key.idempotency, wanted[1])
    local use = packed and opened(packed)
    if not use or use[2] <= now then
        return nil
    end
    if use[1] ~= wanted[2] then
        return {REFUSED, 'idempotency_key_reused', 'the key came with another body before', -1}
    end
    local found = {}
    load(use[3])
    for _, id in ipairs(use[3]) do
        if heads[id] then
            found[#found + 1] = view(id)
        end
    end
    return {EXISTING, found}
end

-- The latest task under the rule. A task exactly `period_us` old is outside of the period.
local function unique_match(rule)
    local prefix, read_so_far = prefixed(rule[1]), 0
    sync(key.uniques)
    repeat
        local members = redis.call(
            'ZREVRANGEBYLEX', key.uniques, '(' .. prefix .. '\255', '[' .. prefix, 'LIMIT', read_so_far, PAGE
        )
        for _, member in ipairs(members) do
            local head = head_of(string.sub(member, #prefix + 9))
            -- The auditor tells of one that is lost.
            if head and rule[3] and now - head[CREATED] >= rule[3] then
                return nil
            end
            if head and rule[2][head[STATE]] then
                return head.id
            end
        end
        read_so_far = read_so_far + #members
    until #members < PAGE
    return nil
end

-- For each id the task that it comes to: itself, or the one that its unique rule found.
local function stand_ins(tasks)
    local ids, own = {}, {}
    for _, task in ipairs(tasks) do
        local found, rule = nil, task[8]
        if rule then
            found = own[rule[1]] or unique_match(rule)
            if not found then
                own[rule[1]] = task[1]
            end
        end
        ids[task[1]] = ids[task[1]] or found or task[1]
    end
    return ids
end

local function count_waiting(queue)
    local fields = {BLOCKED .. ':' .. queue, SCHEDULED .. ':' .. queue, READY .. ':' .. queue}
    local waiting, changed = 0, sums[key.counts]
    for n, stored in ipairs(redis.call('HMGET', key.counts, unpack(fields))) do
        waiting = waiting + tonumber(stored or 0) + (changed[fields[n]] or 0)
    end
    return waiting
end

local function id_taken(id, place)
    return {REFUSED, 'id_taken', 'there is a task ' .. id .. ' already', place - 1}
end

local function refusal_by_ids(tasks, ids)
    local seen = {}
    for place, task in ipairs(tasks) do
        if seen[task[1]] or head_of(task[1]) then
            return id_taken(task[1], place)
        end
        seen[task[1]] = true
        for _, parent in ipairs(task[7]) do
            if not ids[parent] and not head_of(parent) then
                return {REFUSED, 'unknown_parent', 'it depends on ' .. parent .. ', which is not stored', place - 1}
            end
        end
    end
    return nil
end

-- By the queues that tasks are to wait in, false for one that is not to be made.
local function refusal_by_backlog(queues)
    local waiting = {}
    for place, queue in ipairs(queues) do
        local rule = queue and rule_for('queue:' .. queue)
        if rule and rule[MAX_WAITING] then
            waiting[queue] = (waiting[queue] or count_waiting(queue)) + 1
            if waiting[queue] > rule[MAX_WAITING] then
                local detail = 'queue ' .. queue .. ' may hold ' .. rule[MAX_WAITING] .. ' waiting'
                return {REFUSED, 'backlog_full', detail, place - 1}
            end
        end
    end
    return nil
end

local function queues_of(tasks, ids)
    local queues = {}
    for place, task in ipairs(tasks) do
        queues[place] = ids[task[1]] == task[1] and cjson.decode(task[2])[1]
    end
    return queues
end

local function makes_any(tasks, ids)
    for _, task in ipairs(tasks) do
        if ids[task[1]] == task[1] then
            return true
        end
    end
    return false
end

local function taken_workflow(tasks, ids, workflow)
    if makes_any(tasks, ids) and redis.call('HEXISTS', key.workflows, workflow[1]) == 1 then
        return {REFUSED, 'id_taken', 'there is a workflow ' .. workflow[1] .. ' already', -1}
    end
    return nil
end

local function open_edge(head, parent_id, parent)
    local ended = parent and parent[STATE] > RUNNING
    add(key.dependents, prefixed(parent_id) .. head.id)
    if not ended or holds_new[parent[STATE]][head[ON_PARENT_FAILURE]] then
        head[OPEN_PARENTS] = head[OPEN_PARENTS] + 1
        add(key.edges, prefixed(parent_id) .. head.id)
        if ended then
            -- A parent that has failed already is work for `resolve`, like one that fails later.
            add(key.unresolved, parent_id, now)
        end
    end
    if parent and not parent[IS_PARENT] then
        parent[IS_PARENT] = true
        dirty[parent_id] = parent
    end
end

local function open_edges(head, wanted, ids)
    local seen, parents = {}, {}
    for _, name in ipairs(wanted) do
        local id = ids[name] or name
        if not seen[id] then
            seen[id] = true
            parents[#parents + 1] = id
            open_edge(head, id, head_of(id))
        end
    end
    put(key.parents, head.id, cmsgpack.pack(parents))
    note_kept(head, KEPT_PARENTS, true)
end

local function store(task, ids, parents_here, workflow)
    local ordinal, lane = mint(), lane_id(task[2])
    local id, unique = task[1], task[8]
    local head = {
        BLOCKED, lane, 0, ordinal, now, ordinal, 0, 0, 0, 0, 0, 0, 0, 0, task[9], parents_here[id] or false, 0,
        false, false, false, false, false, false,
        false, task[3] > 0 and now + task[3] or task[4], task[5], task[6], false, unique and unique[1],
        false, false, false, false, false, false, false, task[11], id = id,
    }
    heads[id] = head
    put(key.bodies, id, task[10])
    add(key.tasks, id)
    sum(key.lane_uses, lane, 1)
    if unique then
        add(key.uniques, prefixed(unique[1]) .. struct.pack('>I8', ordinal) .. id)
    end
    if workflow then
        belonging.joined(head, workflow)
    end
    if #task[7] > 0 then
        open_edges(head, task[7], ids)
    end
    head[STATE] = head[OPEN_PARENTS] > 0 and BLOCKED or due_state(head[RUN_AT])
    dirty[id] = head
    enter(head, false)
    note_step(head, false, CAUSE_SUBMIT)
end

-- {ACCEPTED, states, versions, {place, view} of tasks that stand for others}
local function accepted(tasks, named)
    local states, versions, existing = {}, {}, {}
    for place, id in ipairs(named) do
        local head = head_of(id)
        states[place], versions[place] = head[STATE], head[VERSION]
        if id ~= tasks[place][1] then
            existing[#existing + 1] = {place - 1, view(id)}
        end
    end
    return {ACCEPTED, states, versions, existing}
end

local function remember_key(wanted, named)
    put(key.idempotency, wanted[1], cmsgpack.pack({wanted[2], now + wanted[3], named}))
    add(key.expiring, wanted[1], now + wanted[3])
end

local function submit(group)
    local tasks, wanted, workflow = group[1], group[2], group[3]
    local earlier = wanted and earlier_use(wanted)
    if earlier then
        return earlier
    end
    local ids = stand_ins(tasks)
    local refused = refusal_by_ids(tasks, ids) or has_rules and refusal_by_backlog(queues_of(tasks, ids))
        or workflow and taken_workflow(tasks, ids, workflow)
    if refused then
        return refused
    end
    local parents_here, named = {}, {}
    for _, task in ipairs(tasks) do
        for _, parent in ipairs(task[7]) do
            parents_here[ids[parent] or parent] = true
        end
    end
    for place, task in ipairs(tasks) do
        named[place] = ids[task[1]]
        if named[place] == task[1] then
            store(task, ids, parents_here, workflow)
        end
    end
    if workflow and makes_any(tasks, ids) then
        belonging.founded(workflow)
    end
    if wanted then
        remember_key(wanted, named)
    end
    return accepted(tasks, named)
end

-- Whether the server has memory for new tasks. Must come before the script's first write.
local function has_memory()
    local told = redis.pcall('HSET', key.meta, 'minted', minted)
    return not (type(told) == 'table' and told.err)
end

local function submit_all(groups)
    local ids, answers, has_keys = {}, {}, false
    for _, group in ipairs(groups) do
        has_keys = has_keys or group[2]
        for _, task in ipairs(group[1]) do
            ids[#ids + 1] = task[1]
            for _, parent in ipairs(task[7]) do
                ids[#ids + 1] = parent
            end
        end
    end
    load(ids)
    if has_keys then
        forget_expired_keys()
    end
    for n, group in ipairs(groups) do
        answers[n] = submit(group)
    end
    return answers
end

local function refuse_all(groups)
    local answers = {}
    for n in ipairs(groups) do
        answers[n] = {REFUSED, 'store_full', 'the server is out of memory', -1}
    end
    return answers
end
