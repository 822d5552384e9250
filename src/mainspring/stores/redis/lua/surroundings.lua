-- uses: moves, boards, members, holding
-- All that can keep a task from running, as of one moment. ARGV: task, how many parents and holders are told, up to how
-- many of a lane are counted. Answers false, or {view, board, workers, place, {lane, waiting} of each lane of the board,
-- {name, holders} of each limited name, open parents as {id, name, state}}. Writes nothing.
local task, shown, counted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local head = head_of(task)
if not head then
    return reply(false)
end

local function lane_bounds(number)
    return '[' .. struct.pack('>I8', number), '(' .. struct.pack('>I8', number + 1)
end

-- Ready tasks past their deadline by their lanes: few, as `overdue` fails them within a second.
local function late_in_line()
    local found = {}
    local late = redis.call('ZRANGEBYSCORE', key.deadlines, '-inf', '(' .. string.format('%.0f', now))
    load(late)
    for _, id in ipairs(late) do
        local other = heads[id]
        if other and other[STATE] == READY then
            local line = found[other[LANE]] or {}
            line[#line + 1] = other
            found[other[LANE]] = line
        end
    end
    return found
end

local function waiting_in(number, late)
    local from, to = lane_bounds(number)
    return math.min(counted, redis.call('ZLEXCOUNT', key.ready, from, to) - #(late[number] or {}))
end

local function place_of_turn(late)
    local from = lane_bounds(head[LANE])
    local before = redis.call('ZLEXCOUNT', key.ready, from, '(' .. place_in_line(head))
    for _, other in ipairs(late[head[LANE]] or {}) do
        if other[SEQ] < head[SEQ] then
            before = before - 1
        end
    end
    return before
end

local function holders_of(name)
    local found = {}
    local running = running_tasks()
    for _, id in ipairs(running) do
        local names = #found < shown and heads[id] and lane_for(heads[id]).names or {}
        for _, other in ipairs(names) do
            if other == name then
                found[#found + 1] = id
            end
        end
    end
    return found
end

local function open_parents()
    local found = {}
    for _, id in ipairs(parents_of(head)) do
        local parent = head_of(id)
        if #found < shown and parent and redis.call('ZSCORE', key.edges, prefixed(id) .. task) then
            found[#found + 1] = {id, parent[NAME], parent[STATE]}
        end
    end
    return found
end

local told, place, waiting, holders, parents = board(), 0, {}, {}, {}
if head[STATE] == BLOCKED then
    parents = open_parents()
elseif head[STATE] == READY then
    local late, used_names = late_in_line(), {}
    place = place_of_turn(late)
    for n, lane in ipairs(told[1]) do
        waiting[n] = {lane[1], waiting_in(lane[1], late)}
    end
    for _, use in ipairs(told[4]) do
        used_names[use[1]] = true
    end
    for _, name in ipairs(lane_for(head).names) do
        if used_names[name] then
            holders[#holders + 1] = {name, holders_of(name)}
        end
    end
end
return reply({view(task), told, workers(), place, waiting, holders, parents})
