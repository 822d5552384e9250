-- uses: moves, reply
-- The usual task: nobody but its worker has to do with it, its head has none of the rare fields, and no table but that
-- of bodies holds anything of it. What `move` does to others is done to it, but its head is changed as text: a table of
-- its fields takes more time than all else. Each is told whether it has been dealt with; if not, it is a task like others.
local plain = {settled = {}}

plain.is_one = function(id, text)
    return text and heads[id] == nil and not head_texts[id]
end

-- Grants a ready task whose place in line is `place`; its head's new text.
plain.grant = function(id, text, number, place, ask)
    local is_read, state, lane, token, version, created, ordinal, _, settled_token, digest, attempt, retries, losses,
        snoozes, open_parents, on_parent_failure, is_parent, kept, seq, _, _, _, _, _, behind = pcall(struct.unpack, HEAD_FORM, text)
    if not is_read or behind <= #text or state ~= READY or lane ~= number or kept ~= 0 then
        return false
    end
    local worker, incarnation = ask[1], ask[2]
    token, attempt = mint_above(token), attempt + 1
    local granted = struct.pack(
        HEAD_FORM, RUNNING, lane, token, mint_above(version), created, ordinal, ask[3], settled_token, digest, attempt,
        retries, losses, snoozes, open_parents, on_parent_failure, is_parent, kept, seq, now, now + ask[6], 0,
        #worker, worker, #incarnation, incarnation
    )
    head_texts[id] = granted
    list(listed.removals, key.ready, place)
    if KEEPS_HISTORY then
        note_history(id, mint(), {now, READY, CAUSE_CLAIM, RUNNING, attempt, token})
    end
    return granted
end

plain.count_granted = function(number, ask, count)
    local lane = lane_numbered(number)
    sum(key.counts, lane.counts[READY], -count)
    sum(key.counts, lane.counts[RUNNING], count)
    sum(key.claim_open, claims_of(ask[2], ask[3]), count)
    usage.start(lane, count)
end

-- Ends a running task that succeeded; `change` as in settle.lua.
plain.settle = function(id, text, minted_token, reported, change, result)
    local is_read, state, lane, token, version, created, ordinal, claim_seq, _, _, _, _, _, _, open_parents,
        on_parent_failure, is_parent, kept, seq, started, _, _, worker, incarnation, behind = pcall(struct.unpack, HEAD_FORM, text)
    if not is_read or behind <= #text or state ~= RUNNING or token ~= minted_token or is_parent ~= 0 or kept ~= 0 then
        return false
    end
    if result ~= '' then
        list(listed.fields, key.ends, id, result)
        kept = KEPT_END
    end
    head_texts[id] = struct.pack(
        HEAD_FORM, SUCCEEDED, lane, token, mint_above(version), created, ordinal, claim_seq, token, reported, change[3],
        change[4], change[5], change[6], open_parents, on_parent_failure, 0, kept, seq, started, 0, now,
        #worker, worker, #incarnation, incarnation
    )
    list(listed.additions, key.places, '0', string.char(SUCCEEDED) .. lane_numbered(lane).prefix .. id)
    sum(key.claim_open, claims_of(incarnation, claim_seq), -1)
    plain.settled[lane] = (plain.settled[lane] or 0) + 1
    finished[#finished + 1] = id
    if KEEPS_HISTORY then
        note_history(id, mint(), {now, RUNNING, CAUSE_SUCCEED, SUCCEEDED, change[3], token})
    end
    return true
end

plain.count_settled = function()
    for number, count in pairs(plain.settled) do
        local lane = lane_numbered(number)
        sum(key.counts, lane.counts[RUNNING], -count)
        sum(key.counts, lane.counts[SUCCEEDED], count)
        usage.stop(lane, count)
    end
    plain.settled = {}
end
