-- uses: belonging, moves, reply, holding
-- What must be found of a task by its head, and in which index. Values that people have put in may be of any kind: a
-- head that cannot be read is no head, and what cannot be made of one is not looked for.
-- By the index's name: the member that the task has there, and its score.
local members_in = {
    tasks = function(head)
        return head.id
    end,
    places = function(head)
        return head[STATE] ~= READY and head[STATE] ~= RUNNING and place_of(head)
    end,
    ready = function(head)
        return head[STATE] == READY and place_in_line(head)
    end,
    due = function(head)
        return head[STATE] == SCHEDULED and head[RUN_AT] and head.id, head[RUN_AT]
    end,
    deadlines = function(head)
        return head[STATE] <= READY and head[DEADLINE] and head.id, head[DEADLINE]
    end,
    timeouts = function(head)
        return head[STATE] == RUNNING and head[TIMEOUT_AT] and head.id, head[TIMEOUT_AT]
    end,
    uniques = function(head)
        return head[UNIQUE] and prefixed(head[UNIQUE]) .. struct.pack('>I8', head[ORDINAL]) .. head.id
    end,
    dead = function(head)
        return head[STATE] == FAILED and head[FINISHED] and head.id, head[FINISHED]
    end,
    letters = function(head)
        return head[STATE] == FAILED and head[FINISHED] and head[FINGERPRINT] and letter_of(head)
    end,
    fired = function(head)
        return head[SCHEDULE] and fires_at(head[SCHEDULE], head[FIRE_AT]) .. head.id
    end,
    open_fires = function(head)
        return head[SCHEDULE] and head[STATE] <= RUNNING and fires_at(head[SCHEDULE], head[FIRE_AT]) .. head.id
    end,
    members = function(head)
        return head[WORKFLOW] and part_of(head)
    end,
}

-- The member or `nil`, and its score or `nil`.
local function member_in(set, head)
    local is_made, member, score = pcall(members_in[set], head)
    return is_made and member or nil, score and tonumber(score)
end

local function is_in(set, member, score)
    local stored = redis.call('ZSCORE', key[set], member)
    return stored and (not score or tonumber(stored) == score)
end

-- The task's id follows behind so many bytes, or behind a name and so many bytes; most often it is all there is.
local FIXED = {ready = 16, letters = 32}
local BEHIND_NAME = {uniques = 8, fired = 8, open_fires = 8, members = 8, edges = 0, dependents = 0}

local function name_at(member, from)
    local length = struct.unpack('>I2', member, from)
    return string.sub(member, from + 2, from + 1 + length), from + 2 + length
end

local function id_in(set, member)
    if not BEHIND_NAME[set] and set ~= 'places' then
        return string.sub(member, (FIXED[set] or 0) + 1)
    end
    local is_read, _, from = pcall(name_at, member, set == 'places' and 2 or 1)
    return is_read and string.sub(member, from + (BEHIND_NAME[set] or 0)) or member
end

-- --- entries of nobody --------------------------------------------------------------------------
-- Names in these begin with the task's.
local OWNED = {history = true, step_names = true, log_ends = true, steps = true, log_blocks = true, fires = true}
-- What stands in these are the names of records.
local RECORDS_OF = {
    founded = 'workflows', schedule_ids = 'schedules', looks = 'schedules', fires = 'schedules',
    expiring = 'idempotency', claimants = 'claimed',
}

local function owner_in(table_, member)
    if OWNED[table_] then
        local is_read, owner = pcall(name_at, member, 1)
        return is_read and owner or member
    end
    return id_in(table_, member)
end

local function is_stray(table_, id, member, score)
    if RECORDS_OF[table_] then
        return redis.call('HEXISTS', key[RECORDS_OF[table_]], id) == 0
    elseif table_ == 'heads' then
        return not redis.call('ZSCORE', key.tasks, id)
    end
    local head = head_of(id)
    if not head then
        -- A head that cannot be read is told of itself.
        return redis.call('HEXISTS', key.heads, id) == 0
    end
    if not members_in[table_] then
        return false
    end
    local right, right_score = member_in(table_, head)
    return right ~= member or right_score and right_score ~= tonumber(score)
end

-- --- claims --------------------------------------------------------------------------------------
local function holds(claim)
    local numbers = fetch(key.holding, string.sub(claim, 3, -9)) or ''
    for first = 1, #numbers, 8 do
        if string.sub(numbers, first, first + 7) == string.sub(claim, -8) then
            return true
        end
    end
    return false
end

-- How many of a claim's tasks run, and the end of the lease that lapses first.
local function open_of(claim)
    local first, running = nil, running_of(claim)
    for _, head in ipairs(running) do
        first = math.min(first or head[LEASE_UNTIL] or 0, head[LEASE_UNTIL] or 0)
    end
    return #running, first
end

-- How many of its tasks run, or `nil` if all that is booked of the claim is right.
local function wrong_claim(claim)
    local open, first = open_of(claim)
    local score = tonumber(redis.call('ZSCORE', key.claims, claim) or nil)
    local booked = tonumber(redis.call('HGET', key.claim_open, claim) or nil)
    local is_right = open > 0 and booked == open and score and score <= first and holds(claim)
    local is_gone = open == 0 and not booked and not score and not fetch(key.claim_tasks, claim)
    if is_right or is_gone and not holds(claim) then
        return nil
    end
    return open
end

-- Whether the claim that a running task names as its own names it.
local listed = {}

local function is_listed(head)
    local is_made, claim = pcall(claim_of, head)
    if head[STATE] ~= RUNNING or not is_made then
        return true
    end
    if not listed[claim] then
        local packed = fetch(key.claim_tasks, claim)
        listed[claim] = {}
        for _, id in ipairs(packed and opened(packed) or {}) do
            listed[claim][id] = true
        end
    end
    return listed[claim][head.id] == true
end

-- Each bit of KEPT, and the table that it tells of.
local KEPT_IN = {
    [KEPT_END] = 'ends', [KEPT_ATTEMPTS] = 'attempts', [KEPT_CHECKPOINT] = 'checkpoints',
    [KEPT_PROGRESS] = 'progress', [KEPT_PARENTS] = 'parents',
}

-- What the head's KEPT should be, as far as these tables go. `texts` are those that have been read.
local function kept_of(head, texts)
    local right = head[KEPT]
    for kept, hash in pairs(KEPT_IN) do
        local text = texts and texts[hash]
        local is_kept = text and text[head.id] ~= nil or not text and redis.call('HEXISTS', key[hash], head.id) == 1
        right = is_kept and bit.bor(right, kept) or bit.band(right, bit.bnot(kept))
    end
    return right
end
