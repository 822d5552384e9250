-- uses: record
-- The answer of a script: a packed array of `now`, the caller's own answers, lanes, lengths; and one blob of
-- all opaque strings behind each other, so that the client parses two strings and not hundreds. Views name
-- their opaque strings by number; 0 is none.
local asked, told_lanes = {}, {}

local lengths, parts = {}, {}

-- The number of an opaque string in the answer.
local function part(text)
    if not text or text == '' then
        return 0
    end
    parts[#parts + 1] = text
    lengths[#lengths + 1] = #text
    return #parts
end

-- The numbers of many fields' texts.
local function parts_of(hash, fields)
    local numbers = {}
    for first = 1, #fields, CHUNK do
        local last = math.min(first + CHUNK - 1, #fields)
        for n, text in ipairs(redis.call('HMGET', hash, unpack(fields, first, last))) do
            numbers[first + n - 1] = part(text)
        end
    end
    return numbers
end

-- Has a place of the answer filled with the text of a task's field, once all is written.
local function ask_for(hash, id, view, place)
    local found = asked[hash]
    if not found then
        found = {ids = {}, views = {}, places = {}}
        asked[hash] = found
    end
    local n = #found.ids + 1
    found.ids[n], found.views[n], found.places[n] = id, view, place
    view[place] = 0
end

-- A lease as its worker is told of it: task, head, body, attempts, checkpoint; many are told behind each other. The
-- head's text is that which is stored: who is told of a lease does not change it any more. `body` is that of a task whose
-- body is read already.
local function tell_lease_as(leases, id, lane, text, body)
    local last = #leases
    leases[last + 1], leases[last + 2], leases[last + 3] = id, part(text), part(body)
    leases[last + 4], leases[last + 5] = 0, 0
    told_lanes[lane] = true
    if not body then
        ask_for(key.bodies, id, leases, last + 3)
    end
end

local function tell_lease(leases, head, body)
    local id, last = head.id, #leases
    local text = told_as[id] or pack_head(head)
    tell_lease_as(leases, id, head[LANE], text, body)
    told_as[id] = text
    if keeps(head, KEPT_ATTEMPTS) then
        ask_for(key.attempts, id, leases, last + 4)
    end
    if keeps(head, KEPT_CHECKPOINT) then
        ask_for(key.checkpoints, id, leases, last + 5)
    end
end

local function lease_of(head)
    local lease = {}
    tell_lease(lease, head)
    return lease
end

-- The task as it is now, whatever the call does to it later; but for what its runs have left behind.
local function view(id)
    local head = head_of(id)
    local told = {id, {unpack(head, 1, FIELDS)}, 0, 0, 0, 0, 0, 0}
    told_lanes[head[LANE]] = true
    ask_for(key.bodies, id, told, 3)
    local kept = {
        [4] = keeps(head, KEPT_PARENTS) and key.parents, [5] = keeps(head, KEPT_END) and key.ends,
        [6] = keeps(head, KEPT_ATTEMPTS) and key.attempts,
        [7] = keeps(head, KEPT_CHECKPOINT) and key.checkpoints,
        [8] = keeps(head, KEPT_PROGRESS) and key.progress,
    }
    for place, hash in pairs(kept) do
        if hash then
            ask_for(hash, id, told, place)
        end
    end
    return told
end

local function fill(hash, wanted)
    for first = 1, #wanted.ids, CHUNK do
        local last = math.min(first + CHUNK - 1, #wanted.ids)
        for n, text in ipairs(redis.call('HMGET', hash, unpack(wanted.ids, first, last))) do
            wanted.views[first + n - 1][wanted.places[first + n - 1]] = part(text)
        end
    end
end

-- After `flush`.
local function reply(answers)
    for hash, wanted in pairs(asked) do
        fill(hash, wanted)
    end
    local told = {}
    for number in pairs(told_lanes) do
        local lane = lane_of(number)
        if lane then
            told[#told + 1] = {number, lane.text}
        end
    end
    return {cmsgpack.pack({now, answers, told, lengths}), table.concat(parts)}
end

-- The lane's head {number, place in line}, if it has one. After `flush`.
local function head_of_lane(number)
    local first = redis.call(
        'ZRANGEBYLEX', key.ready, '[' .. struct.pack('>I8', number), '(' .. struct.pack('>I8', number + 1),
        'LIMIT', 0, 1
    )[1]
    if first and lane_of(number) then
        told_lanes[number] = true
        local _, seq = struct.unpack('>I8I8', first)
        return {number, seq}
    end
    return nil
end

-- The heads of lanes.
local function heads_of_lanes(numbers)
    local found = {}
    for number in pairs(numbers) do
        found[#found + 1] = head_of_lane(number)
    end
    return found
end
