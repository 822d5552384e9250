-- Asks: {worker, incarnation, claim_seq, lanes, limit, lease_us, term or false}; lanes: {number, limit}.
-- An answer: {views of the leases, lanes that are empty}.

-- The run's time counts from now; the earlier of timeout and deadline ends it.
local function start_run(head)
    head[STARTED] = now
    local ends = head[TIMEOUT] and now + head[TIMEOUT]
    if head[DEADLINE] and (not ends or head[DEADLINE] < ends) then
        ends = head[DEADLINE]
    end
    head[TIMEOUT_AT] = ends
end

local function grant(head, ask)
    head[TOKEN] = math.max(head[TOKEN] + 1, mint())
    head[ATTEMPT] = head[ATTEMPT] + 1
    head[WORKER], head[INCARNATION], head[CLAIM_SEQ] = ask[1], ask[2], ask[3]
    head[LEASE_UNTIL] = now + ask[6]
    start_run(head)
    move(head, RUNNING)
    return view(head.id)
end

-- Up to `wanted` tasks from the head of a lane, and whether more could be claimed there. A task past its
-- deadline is passed over and keeps its place.
local function take(number, wanted, ask, leases)
    local first, behind = '[' .. struct.pack('>I8', number), '(' .. struct.pack('>I8', number + 1)
    local late = 0
    while true do
        local line = redis.call('ZRANGEBYLEX', key.ready, first, behind, 'LIMIT', late, math.min(wanted + 1, CHUNK))
        local ids = {}
        for n, place in ipairs(line) do
            ids[n] = string.sub(place, 17)
        end
        load(ids)
        for _, id in ipairs(ids) do
            local head = heads[id]
            if head[DEADLINE] and head[DEADLINE] < now then
                late = late + 1
            elseif wanted == 0 then
                return true
            else
                wanted = wanted - 1
                leases[#leases + 1] = grant(head, ask)
            end
        end
        if #line == 0 then
            return false
        end
    end
end

-- The answer to a repeated claim: its first answer may have been lost on the way.
local function still_held(ask)
    local prefix, found, leases = claims_of(ask[2], ask[3]), {}, {}
    for n, member in ipairs(redis.call('ZRANGEBYLEX', key.held, '[' .. prefix, '(' .. prefix .. '\255')) do
        found[n] = head_of(string.sub(member, #prefix + 1))
    end
    table.sort(found, function(one, other) return one[TOKEN] < other[TOKEN] end)
    for n, head in ipairs(found) do
        leases[n] = view(head.id)
    end
    return leases
end

local function leads(number)
    local term = redis.call('HMGET', key.term, 'number', 'expires_us')
    return tonumber(term[1] or 0) == number and tonumber(term[2] or 0) > now
end

local function claim(ask)
    if ask[3] <= tonumber(redis.call('HGET', key.claimed, ask[2]) or -1) then
        return {still_held(ask), {}}
    end
    if ask[7] and not leads(ask[7]) then
        return {{}, {}}
    end
    local leases, empty = {}, {}
    for _, quota in ipairs(ask[4]) do
        local wanted, lane = math.min(quota[2], ask[5] - #leases), lane_of(quota[1])
        if not lane then
            empty[#empty + 1] = quota[1]
        elseif wanted > 0 and not take(quota[1], math.min(wanted, room(lane)), ask, leases) then
            empty[#empty + 1] = quota[1]
        end
    end
    if #leases > 0 then
        redis.call('HSET', key.claimed, ask[2], ask[3])
    end
    return {leases, empty}
end

local function claim_all(asks)
    local answers = {}
    for n, ask in ipairs(asks) do
        answers[n] = claim(ask)
    end
    return answers
end
