-- uses: auditing, by_hand
-- Tasks are mended, each if its head is still as it was read. ARGV[1]: lines {task, digest of its head or '', its head
-- from now on, whether its holder is fenced, tables and the numbers of their new texts (0 drops one), parents that it
-- waits for or false, cause and state to bring it into (0: as its time has it) or false}; ARGV[2]: the lane of tasks
-- whose own is lost; ARGV[3] on: texts. Answers for each whether it was as it was read.
local LOST_LANE = -1

-- The numbers that the task is booked in.
local function book(head, step)
    local is_read, lane = pcall(lane_of, head[LANE])
    if not is_read or not lane or not lane[5] then
        return
    end
    sum(key.lane_uses, string.format('%.0f', head[LANE]), step)
    if type(head[STATE]) == 'number' and head[STATE] >= BLOCKED and head[STATE] <= CANCELLED then
        sum(key.counts, head[STATE] .. ':' .. lane[1], step)
    end
    for _, name in ipairs(head[STATE] == RUNNING and lane.names or {}) do
        sum(key.running, name, step)
    end
    local is_made, claim = pcall(claim_of, head)
    if head[STATE] == RUNNING and is_made then
        sum(key.claim_open, claim, step)
    end
    if head[STATE] == FAILED and head[FINGERPRINT] and head[FINISHED] then
        count_letters(head[FINGERPRINT], step)
    end
end

local function leave_all(head)
    for set in pairs(members_in) do
        local member = member_in(set, head)
        if member then
            remove(key[set], member)
        end
    end
    book(head, -1)
end

local function enter_all(head)
    for set in pairs(members_in) do
        local member, score = member_in(set, head)
        if member then
            add(key[set], member, score)
        end
    end
    book(head, 1)
end

local function keep(head, hash, number)
    put(key[hash], head.id, number > 0 and ARGV[number + 2])
    for kept, table_ in pairs(KEPT_IN) do
        if table_ == hash then
            note_kept(head, kept, number > 0)
        end
    end
end

-- A parent that has ended is noted: what becomes of the child is for `resolve` to say.
local function wait_for(head, parents)
    for _, parent in ipairs(parents) do
        add(key.dependents, prefixed(parent) .. head.id)
        add(key.edges, prefixed(parent) .. head.id)
        if head_of(parent) and head_of(parent)[STATE] > RUNNING then
            add(key.unresolved, parent, now)
        end
        if head_of(parent) and not head_of(parent)[IS_PARENT] then
            head_of(parent)[IS_PARENT] = true
            dirty[parent] = head_of(parent)
        end
    end
    head[OPEN_PARENTS] = #parents
end

local function mend(line)
    local id, digest, head, is_fenced, texts, parents, cause, state = unpack(line)
    local stored = redis.call('HGET', key.heads, id)
    if (stored and redis.sha1hex(stored) or '') ~= digest then
        return false
    end
    local old = head_of(id)
    if old then
        leave_all(old)
    end
    head.id = id
    heads[id] = head
    head[LANE] = head[LANE] == LOST_LANE and lane_id(ARGV[2]) or head[LANE]
    head[ORDINAL] = head[ORDINAL] or mint()
    if head[STATE] == READY and not head[SEQ] then
        head[SEQ] = mint()
        gained[head[LANE]] = true
    end
    if is_fenced then
        fence(head)
    end
    touch(head)
    enter_all(head)
    for hash, number in pairs(texts) do
        keep(head, hash, number)
    end
    if parents then
        wait_for(head, parents)
    end
    if cause then
        move(head, cause, state == 0 and due_state(head[RUN_AT]) or state)
    end
    return true
end

local lines, answers = cmsgpack.unpack(ARGV[1]), {}
for n, line in ipairs(lines) do
    answers[n] = mend(line)
end
release_children()
flush()
return reply(answers)
