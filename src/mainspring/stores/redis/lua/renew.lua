-- uses: moves, reply, starting, holding
-- ARGV[1]: renewals {incarnation, claim_seq, lease_us, lines {task, token, started}}. Answers one list each.
local function holder(task, token)
    local head = head_of(task)
    return head and head[STATE] == RUNNING and head[TOKEN] == token and head
end

-- The worker never learned of this lease: the task did not run, so nothing is counted.
local function hand_back(head)
    head[ATTEMPT] = head[ATTEMPT] - 1
    if head[CANCEL_AT] then
        move(head, CAUSE_CANCEL, CANCELLED)
    else
        move(head, CAUSE_RELEASE, READY)
    end
end

local function start_anew(head)
    if head[TIMEOUT_AT] then
        remove(key.timeouts, head.id)
    end
    start_run(head)
    if head[TIMEOUT_AT] then
        add(key.timeouts, head.id, head[TIMEOUT_AT])
    end
end

-- Renewed leases of claims that their renewals do not speak for.
local others = {}

local function renew_lines(renewal, answers)
    local incarnation, claim_seq, lease_us, lines = unpack(renewal)
    local named = {}
    for n, line in ipairs(lines) do
        local head = holder(line[1], line[2])
        if not head then
            answers[n] = LOST
        else
            named[head.id] = true
            head[LEASE_UNTIL] = now + lease_us
            if not line[3] then
                start_anew(head)
            end
            dirty[head.id] = head
            if head[CLAIM_SEQ] > claim_seq or head[INCARNATION] ~= incarnation then
                others[#others + 1] = head
            end
            answers[n] = head[CANCEL_AT] and CANCEL or OK
        end
    end
    return named
end

-- A lease that is shorter now than its claim made it: the claim must be looked at when it lapses, not later.
local function lapse_sooner(head)
    local claim = claim_of(head)
    local looked_at = redis.call('ZSCORE', key.claims, claim)
    if looked_at and tonumber(looked_at) > head[LEASE_UNTIL] then
        redis.call('ZADD', key.claims, head[LEASE_UNTIL], claim)
    end
end

-- What of these claims still runs was named now, so none of it lapses before.
local function renew(renewal)
    local incarnation, claim_seq, lease_us = unpack(renewal)
    local answers = {}
    local named = renew_lines(renewal, answers)
    for _, claim in ipairs(claims_held_by(incarnation, claim_seq)) do
        for _, head in ipairs(running_of(claim)) do
            if not named[head.id] then
                hand_back(head)
            end
        end
        add(key.claims, claim, now + lease_us)
    end
    return answers
end

local renewals, ids, answers = cmsgpack.unpack(ARGV[1]), {}, {}
for _, renewal in ipairs(renewals) do
    for _, line in ipairs(renewal[4]) do
        ids[#ids + 1] = line[1]
    end
end
load(ids)
for n, renewal in ipairs(renewals) do
    answers[n] = renew(renewal)
end
release_children()
go_on_when_full()
flush()
for _, head in ipairs(others) do
    if head[STATE] == RUNNING then
        lapse_sooner(head)
    end
end
return reply({answers, #finished > 0 or next(gained) ~= nil})
