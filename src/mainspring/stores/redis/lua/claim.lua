-- uses: plain, starting, leading, holding
-- Asks: {worker, incarnation, claim_seq, lanes, limit, lease_us, term or false}; lanes: {number, limit}.
-- An answer: {leases behind each other, lanes that are empty}.
local WORDS_OF_LEASE = 5
local touched = {}
-- How heavy the rest of the claim may be.
local room_bytes = CLAIM_BYTES

-- What this call has changed included.
local function read_bodies(ids, first, last)
    local pending = hashes[key.bodies]
    local texts = redis.call('HMGET', key.bodies, unpack(ids, first, last))
    local bodies = {}
    for n, text in ipairs(texts) do
        bodies[first + n - 1] = pending[ids[first + n - 1]] or text
    end
    return bodies
end

local function weigh(head, body)
    room_bytes = room_bytes - #(body or '')
    if keeps(head, KEPT_ATTEMPTS) then
        room_bytes = room_bytes - redis.call('HSTRLEN', key.attempts, head.id)
    end
    if keeps(head, KEPT_CHECKPOINT) then
        room_bytes = room_bytes - redis.call('HSTRLEN', key.checkpoints, head.id)
    end
end

local function grant(head, ask, body, leases)
    weigh(head, body)
    head[TOKEN] = mint_above(head[TOKEN])
    head[ATTEMPT] = head[ATTEMPT] + 1
    head[WORKER], head[INCARNATION], head[CLAIM_SEQ] = ask[1], ask[2], ask[3]
    head[LEASE_UNTIL] = now + ask[6]
    start_run(head)
    move(head, CAUSE_CLAIM, RUNNING)
    tell_lease(leases, head, body)
end

-- The body of the task at place `n` of a page, read with some that follow it.
local function body_at(page, n, wanted)
    if n > page.read_to then
        page.read_to = math.min(n + math.min(wanted, BODIES_AT_ONCE) - 1, #page.ids)
        page.bodies = read_bodies(page.ids, n, page.read_to)
    end
    return page.bodies[n]
end

-- Tasks of one page of a line; how many of `wanted` are still wanted, or false if there is one that may not be claimed
-- any more. A task past its deadline is passed over and keeps its place.
local function take_of(line, number, wanted, ask, leases)
    local ids, count = {}, 0
    for n, place in ipairs(line) do
        ids[n] = string.sub(place, 17)
    end
    local texts, page = read_texts(ids), {ids = ids, read_to = 0}
    for n, id in ipairs(ids) do
        local text, has_room = texts[n], wanted > 0 and room_bytes > 0
        local granted = has_room and plain.is_one(id, text) and plain.grant(id, text, number, line[n], ask)
        local head = not granted and head_read(id, text)
        if granted then
            local body = body_at(page, n, wanted)
            room_bytes = room_bytes - #(body or '')
            tell_lease_as(leases, id, number, granted, body)
            wanted, count = wanted - 1, count + 1
        elseif not head or head[STATE] ~= READY or head[LANE] ~= number then
            -- A stray one would be in the way of every claim.
            remove(key.ready, line[n])
        elseif not is_past(head[DEADLINE]) then
            if not has_room then
                wanted = false
                break
            end
            grant(head, ask, body_at(page, n, wanted), leases)
            wanted = wanted - 1
        end
    end
    if count > 0 then
        plain.count_granted(number, ask, count)
    end
    return wanted
end

-- Up to `wanted` tasks from the head of a lane, and whether more could be claimed there.
local function take(number, wanted, ask, leases)
    local first, behind = '[' .. struct.pack('>I8', number), '(' .. struct.pack('>I8', number + 1)
    local read_so_far = 0
    if touched[number] then
        sync(key.ready)
    end
    touched[number] = true
    while true do
        local most = math.min(wanted + 1, CHUNK)
        local line = redis.call('ZRANGEBYLEX', key.ready, first, behind, 'LIMIT', read_so_far, most)
        wanted = take_of(line, number, wanted, ask, leases)
        if not wanted then
            return true
        end
        read_so_far = read_so_far + #line
        if #line < most then
            return false
        end
    end
end

-- The answer to a repeated claim: its first answer may have been lost on the way.
local function still_held(ask)
    local leases = {}
    local found = running_of(claims_of(ask[2], ask[3]))
    table.sort(found, function(one, other) return one[TOKEN] < other[TOKEN] end)
    for _, head in ipairs(found) do
        if lane_of(head[LANE]) then
            tell_lease(leases, head)
        end
    end
    return leases
end

local function remember(ask, leases)
    local claim, ids = claims_of(ask[2], ask[3]), {}
    for from = 1, #leases, WORDS_OF_LEASE do
        ids[#ids + 1] = leases[from]
    end
    put(key.claimed, ask[2], ask[3])
    add(key.claimants, ask[2], now)
    put(key.claim_tasks, claim, cmsgpack.pack(ids))
    add(key.claims, claim, now + ask[6])
    put(key.holding, ask[2], (fetch(key.holding, ask[2]) or '') .. string.sub(claim, -8))
end

local function claim(ask)
    if ask[3] <= tonumber(fetch(key.claimed, ask[2]) or -1) then
        return {still_held(ask), {}}
    end
    if ask[7] and not leads(ask[7]) then
        return {{}, {}}
    end
    local leases, empty = {}, {}
    room_bytes = CLAIM_BYTES
    for _, quota in ipairs(ask[4]) do
        local free = room_bytes > 0 and ask[5] - #leases / WORDS_OF_LEASE or 0
        local wanted, lane = math.min(quota[2], free), lane_of(quota[1])
        if not lane then
            empty[#empty + 1] = quota[1]
        elseif wanted > 0 and not take(quota[1], math.min(wanted, room(lane)), ask, leases) then
            empty[#empty + 1] = quota[1]
        end
    end
    if #leases > 0 then
        remember(ask, leases)
    end
    return {leases, empty}
end

local function claim_all(asks)
    local answers = {}
    if #asks > 0 then
        sync(key.ready)
    end
    for n, ask in ipairs(asks) do
        answers[n] = claim(ask)
    end
    return answers
end
