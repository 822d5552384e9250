-- ARGV[1]: renewals {incarnation, claim_seq, lease_us, lines {task, token, started}}. Answers one list each.
local function holder(task, token)
    local head = head_of(task)
    return head and head[STATE] == RUNNING and head[TOKEN] == token and head
end

-- The worker never learned of this lease: the task did not run, so nothing is counted.
local function hand_back(head)
    head[ATTEMPT] = head[ATTEMPT] - 1
    move(head, head[CANCEL_AT] and CANCELLED or READY, true)
end

local function renew(renewal)
    local incarnation, claim_seq, lease_us, lines = unpack(renewal)
    local answers, named = {}, {}
    for n, line in ipairs(lines) do
        local head = holder(line[1], line[2])
        if not head then
            answers[n] = LOST
        else
            named[head.id] = true
            head[LEASE_UNTIL] = now + lease_us
            if not line[3] then
                start_run(head)
            end
            dirty[head.id] = head
            answers[n] = head[CANCEL_AT] and CANCEL or OK
        end
    end
    local first = prefixed(incarnation)
    local last = claims_of(incarnation, claim_seq) .. '\255'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', key.held, '[' .. first, '(' .. last)) do
        local head = head_of(string.sub(member, #first + 9))
        if not named[head.id] then
            hand_back(head)
        end
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
return reply(answers, flush())
