-- Lines: {task, token, digest, only_if_lapsed, change, if_cancelled or false}. A change: {state, keeps_place,
-- attempt, retries, losses, snoozes, delay_us, end, attempts, fingerprint or false}; the empty string says nothing.
local OK, LOST, CANCEL, ALREADY = 1, 2, 3, 4

local function put(hash, task, text)
    if text ~= '' then
        redis.call('HSET', hash, task, text)
    else
        redis.call('HDEL', hash, task)
    end
end

local function settle(line)
    local task, token, digest, only_if_lapsed = unpack(line)
    local head = head_of(task)
    if not head then
        return LOST
    end
    if head[STATE] ~= RUNNING or head[TOKEN] ~= token then
        return head[SETTLED_TOKEN] == token and head[SETTLED_DIGEST] == digest and ALREADY or LOST
    end
    if only_if_lapsed and head[LEASE_UNTIL] > now then
        return LOST
    end
    -- Without a second change the first one stands for both.
    local change = head[CANCEL_AT] and line[6] or line[5]
    head[SETTLED_TOKEN], head[SETTLED_DIGEST] = token, digest
    head[ATTEMPT], head[RETRIES], head[LOSSES], head[SNOOZES] = change[3], change[4], change[5], change[6]
    head[FINGERPRINT] = change[10]
    put(key.ends, task, change[8])
    put(key.attempts, task, change[9])
    if change[1] == SCHEDULED then
        head[RUN_AT] = now + change[7]
    end
    move(head, change[1], change[2])
    return head[CANCEL_AT] and change[1] == CANCELLED and CANCEL or OK
end

local function settle_all(lines)
    local ids, answers = {}, {}
    for n, line in ipairs(lines) do
        ids[n] = line[1]
    end
    load(ids)
    for n, line in ipairs(lines) do
        answers[n] = settle(line)
    end
    return answers
end
