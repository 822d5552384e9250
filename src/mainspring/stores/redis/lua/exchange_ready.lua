-- uses: submit, meeting
-- An exchange of nothing but submits of plain tasks that are ready at once: what is usual costs least. No table is made
-- for a task: its head is written as text, and what is stored is gathered as the commands want it.
-- ARGV[1]: {lanes, groups, lengths}; a lane: {text, queue}. A group: {ids, runs, rare}: `runs` has one behind the other
-- the place of a lane and how many tasks in a row are of it; `rare` by a task's place in the group the number of the
-- text of those fields of its head that few tasks have. ARGV[2]: all bodies in their order, then these texts.
local named, groups, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local texts = opaque_strings(ARGV[2], lengths)
local taken, next_number, bodies_stored = {}, 0, 0
local made = {heads = {}, bodies = {}, tasks = {}, ready = {}, lane_ids = {}, lanes = {}, last = 0}

-- Marks the ids that are taken; how many tasks there are.
local function look_for_taken()
    local all = #groups == 1 and groups[1][1] or {}
    for _, group in ipairs(#groups > 1 and groups or {}) do
        for _, id in ipairs(group[1]) do
            all[#all + 1] = id
        end
    end
    for first = 1, #all, CHUNK do
        local found = redis.call('HMGET', key.heads, unpack(all, first, math.min(first + CHUNK - 1, #all)))
        for n, packed in ipairs(found) do
            if packed then
                taken[all[first + n - 1]] = true
            end
        end
    end
    return #all
end

-- All numbers that this call may give out are written down before: its first write, which a server that is out of
-- memory refuses.
local function reserve_numbers(count)
    next_number = mint()
    minted = next_number + #named + NUMBERS_A_TASK * count
    return has_memory()
end

-- Takes the ids, or tells why not, and then takes none.
local function refusal(ids, runs)
    local refused, last = nil, #ids
    for place, id in ipairs(ids) do
        if taken[id] then
            refused, last = id_taken(id, place), place - 1
            break
        end
        taken[id] = true
    end
    if has_rules and not refused then
        local queues = {}
        for n = 1, #runs, 2 do
            for _ = 1, runs[n + 1] do
                queues[#queues + 1] = named[runs[n]][2]
            end
        end
        refused = refusal_by_backlog(queues)
    end
    for place = 1, refused and last or 0 do
        taken[ids[place]] = nil
    end
    return refused
end

local function open_lane(place)
    local text, queue = unpack(named[place])
    local number = tonumber(redis.call('HGET', key.lane_ids, text) or nil)
    if not number then
        number, next_number = next_number, next_number + 1
        local last = #made.lanes
        made.lane_ids[last + 1], made.lane_ids[last + 2] = text, number
        made.lanes[last + 1], made.lanes[last + 2] = number, text
    end
    lanes[number] = {text = text}
    return {text, queue, number, READY .. ':' .. queue, struct.pack('>BI8I8', READY, number, 0)}
end

local function store_run(lane, ids, from, to, rare)
    local number, begin, pack = lane[3], lane[5], struct.pack
    local heads_, bodies, tasks, ready, last = made.heads, made.bodies, made.tasks, made.ready, made.last
    for place = from, to do
        local id, ordinal, seq = ids[place], next_number, next_number + 1
        local head = pack(READY_FORM, begin, ordinal, now, ordinal, READY_MIDDLE, seq, READY_END)
        bodies_stored = bodies_stored + 1
        heads_[last + 1], heads_[last + 2] = id, rare[place] and head .. texts[rare[place]] or head
        bodies[last + 1], bodies[last + 2] = id, texts[bodies_stored]
        tasks[last + 1], tasks[last + 2] = '0', id
        ready[last + 1], ready[last + 2] = '0', pack('>I8I8c0', number, seq, id)
        next_number, last = next_number + NUMBERS_A_TASK, last + 2
        if KEEPS_HISTORY then
            note_history(id, seq, {now, false, CAUSE_SUBMIT, READY, 0, 0})
        end
    end
    made.last = last
    sum(key.lane_uses, number, to - from + 1)
    sum(key.counts, lane[4], to - from + 1)
    gained[number] = true
end

-- {READY_FROM, the first one's version, how many}: each one's is NUMBERS_A_TASK above that of the one before.
local function submit_ready(group)
    local ids, runs, rare = unpack(group)
    local refused = refusal(ids, runs)
    if refused then
        bodies_stored = bodies_stored + #ids
        return refused
    end
    for n = 1, #runs, 2 do
        if not named[runs[n]][3] then
            named[runs[n]] = open_lane(runs[n])
        end
    end
    local version, place = next_number, 1
    for n = 1, #runs, 2 do
        store_run(named[runs[n]], ids, place, place + runs[n + 1] - 1, rare)
        place = place + runs[n + 1]
    end
    return {READY_FROM, version, #ids}
end

local function write_made()
    write('HSET', key.heads, made.heads)
    write('HSET', key.bodies, made.bodies)
    write('ZADD', key.tasks, made.tasks)
    write('ZADD', key.ready, made.ready)
    write('HSET', key.lane_ids, made.lane_ids)
    write('HSET', key.lanes, made.lanes)
    write_sums()
    if KEEPS_HISTORY then
        sync(key.history)
    end
end

local answers = {}
if reserve_numbers(look_for_taken()) then
    for n, group in ipairs(groups) do
        answers[n] = submit_ready(group)
    end
    write_made()
else
    -- Which fails if it is not for want of memory that nothing can be written.
    go_on_when_full()
    answers = refuse_all(groups)
end
return told_of_all(answers, {}, {}, ARGV[3], ARGV[4])
