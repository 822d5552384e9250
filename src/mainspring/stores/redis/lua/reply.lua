-- The answer of a script: a packed array of `now`, the caller's own answers, lanes, lengths; and one blob of
-- all opaque strings behind each other, so that the client parses two strings and not hundreds.
local viewed, views = {}, {}

-- The number of the task's record in the answer. It is read after `flush`, as it is then.
local function view(id)
    if not viewed[id] then
        views[#views + 1] = id
        viewed[id] = #views
    end
    return viewed[id]
end

-- The record as it is now, whatever the call does to it later.
local snapshots = {}

local function view_now(head)
    views[#views + 1] = head.id
    local id = head.id
    head.id = nil
    snapshots[#views] = cmsgpack.pack(head)
    head.id = id
    return #views
end

local function read(hash)
    local found = {}
    for first = 1, #views, CHUNK do
        local last = math.min(first + CHUNK - 1, #views)
        for n, text in ipairs(redis.call('HMGET', hash, unpack(views, first, last))) do
            found[first + n - 1] = text or ''
        end
    end
    return found
end

local function reply(answers, packed)
    local lengths, parts, told = {}, {}, {}
    local stored, bodies, parents = read(key.heads), read(key.bodies), read(key.parents)
    local ends, attempts = read(key.ends), read(key.attempts)
    for n, id in ipairs(views) do
        local head = snapshots[n] or packed[id] or stored[n]
        for _, part in ipairs({id, head, bodies[n], parents[n], ends[n], attempts[n]}) do
            lengths[#lengths + 1] = #part
            parts[#parts + 1] = part
        end
        lane_of(head_of(id)[LANE])
    end
    for number, lane in pairs(lanes) do
        if lane then
            told[#told + 1] = {number, lane.text}
        end
    end
    return {cmsgpack.pack({now, answers, told, lengths}), table.concat(parts)}
end

-- The oldest place of each lane that this call gave ready tasks, where any are left.
local function ready_lanes()
    local found = {}
    for number in pairs(gained) do
        local line = struct.pack('>I8', number)
        local first = redis.call(
            'ZRANGEBYLEX', key.ready, '[' .. line, '(' .. struct.pack('>I8', number + 1), 'LIMIT', 0, 1
        )[1]
        if first then
            lane_of(number)
            local _, seq = struct.unpack('>I8I8', first)
            found[#found + 1] = {number, seq}
        end
    end
    return found
end
