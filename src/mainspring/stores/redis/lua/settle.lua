-- uses: plain, opaque
-- Settlements are {changes, lines}: behind each other of each line its task, token, digest, whether it is held (1) and
-- counts only if it has lapsed (2), the place of its change and the number of its end; both again if there are others
-- for a task whose cancellation was requested, or 0. A change: {state, cause, attempt, retries, losses, snoozes,
-- delay_us, attempts, fingerprint or false}. An empty end and empty attempts say nothing.
local WORDS = 8

local function keep(head, hash, bit_, text)
    if text ~= '' then
        put(hash, head.id, text)
        note_kept(head, bit_, true)
    elseif keeps(head, bit_) then
        put(hash, head.id, false)
        note_kept(head, bit_, false)
    end
end

-- Why nothing is to be written for a line, or nil.
local function unsettled(head, token, digest, flags)
    if not head then
        return LOST
    end
    if flags % 2 == 0 or head[STATE] ~= RUNNING or head[TOKEN] ~= token then
        local told = head[SETTLED_DIGEST]
        return head[SETTLED_TOKEN] == token and (told == digest or told == IN_TRANSACTION) and ALREADY or LOST
    end
    return flags >= 2 and head[LEASE_UNTIL] > now and LOST or nil
end

local function settle(head, token, digest, change, end_, attempts)
    head[SETTLED_TOKEN], head[SETTLED_DIGEST] = token, digest
    head[ATTEMPT], head[RETRIES], head[LOSSES], head[SNOOZES] = change[3], change[4], change[5], change[6]
    head[FINGERPRINT] = change[9]
    keep(head, key.ends, KEPT_END, end_)
    keep(head, key.attempts, KEPT_ATTEMPTS, attempts)
    if change[1] == SCHEDULED then
        head[RUN_AT] = now + change[7]
    end
    move(head, change[2], change[1])
    return head[CANCEL_AT] and change[1] == CANCELLED and CANCEL or OK
end

local function is_success(change, flags)
    return change[1] == SUCCEEDED and change[2] == CAUSE_SUCCEED and change[8] == 0 and not change[9] and flags == 1
end

local function settle_line(changes, opaque, text, id, token, digest, flags, first, first_end, other, other_end)
    local change, end_ = changes[first], first_end
    if is_success(change, flags) and plain.is_one(id, text)
        and plain.settle(id, text, token, digest, change, opaque[end_]) then
        return OK
    end
    local head = head_read(id, text)
    local answer = unsettled(head, token, digest, flags)
    if answer then
        return answer
    end
    if head[CANCEL_AT] and other > 0 then
        change, end_ = changes[other], other_end
    end
    return settle(head, token, digest, change, opaque[end_], opaque[change[8]])
end

local function settle_all(settles, opaque)
    local changes, lines = unpack(settles)
    local ids, answers = {}, {}
    for from = 1, #lines, WORDS do
        ids[#ids + 1] = lines[from]
    end
    local texts = read_texts(ids)
    for n in ipairs(ids) do
        local from = (n - 1) * WORDS + 1
        answers[n] = settle_line(changes, opaque, texts[n], unpack(lines, from, from + WORDS - 1))
    end
    plain.count_settled()
    release_children()
    return answers
end
