-- uses: moves, opaque
-- Lines: {task, token, digest, is_held, only_if_lapsed, change, if_cancelled or false}. A change: {state, cause,
-- attempt, retries, losses, snoozes, delay_us, end, attempts, fingerprint or false}; the empty string says nothing.

local function open_settlement(line, opaque)
    local change, other = line[6], line[7]
    change[8], change[9] = opaque[change[8]], opaque[change[9]]
    if other then
        other[8], other[9] = opaque[other[8]], opaque[other[9]]
    end
end

local function open_settlements(lines, opaque)
    for _, line in ipairs(lines) do
        open_settlement(line, opaque)
    end
end

local function keep(head, hash, bit_, text)
    if text ~= '' then
        put(hash, head.id, text)
        note_kept(head, bit_, true)
    elseif keeps(head, bit_) then
        put(hash, head.id, false)
        note_kept(head, bit_, false)
    end
end

local function settle(line)
    local task, token, digest, is_held, only_if_lapsed = unpack(line)
    local head = head_of(task)
    if not head then
        return LOST
    end
    if not is_held or head[STATE] ~= RUNNING or head[TOKEN] ~= token then
        local told = head[SETTLED_DIGEST]
        return head[SETTLED_TOKEN] == token and (told == digest or told == IN_TRANSACTION) and ALREADY or LOST
    end
    if only_if_lapsed and head[LEASE_UNTIL] > now then
        return LOST
    end
    -- Without a second change the first one stands for both.
    local change = head[CANCEL_AT] and line[7] or line[6]
    head[SETTLED_TOKEN], head[SETTLED_DIGEST] = token, digest
    head[ATTEMPT], head[RETRIES], head[LOSSES], head[SNOOZES] = change[3], change[4], change[5], change[6]
    head[FINGERPRINT] = change[10]
    keep(head, key.ends, KEPT_END, change[8])
    keep(head, key.attempts, KEPT_ATTEMPTS, change[9])
    if change[1] == SCHEDULED then
        head[RUN_AT] = now + change[7]
    end
    move(head, change[2], change[1])
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
    release_children()
    return answers
end
