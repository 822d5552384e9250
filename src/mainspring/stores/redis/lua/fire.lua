-- uses: submit, by_hand, leading
-- Decisions about schedules, each written whole or not at all, and only if its schedule is still as it was read.
-- ARGV[1]: {decisions, lengths}; ARGV[2]: the blob of their opaque strings; ARGV[3]: how many records of fires are
-- kept; ARGV[4]: the term, if it is a leader's. A decision: {schedule, the digest of its record or '', its record from
-- now on, when to look again or false, group, times of the group's tasks, tasks to cancel, what is told of the fires}.
-- Answers {WRITTEN, CHANGED, DEPOSED, a refusal or what its key has made for each; ready; finished}.
local WRITTEN, CHANGED, DEPOSED = 1, 2, 3
local decisions, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque, kept = opaque_strings(ARGV[2], lengths), tonumber(ARGV[3])

-- At least so many are kept, and at most twice as many.
local function tell(schedule, told)
    local prefix = prefixed(schedule)
    for _, record in ipairs(told) do
        add(key.fires, prefix .. struct.pack('>I8', mint()) .. record)
    end
    sync(key.fires)
    local from, to = '[' .. prefix, '(' .. prefix .. '\255'
    local count = redis.call('ZLEXCOUNT', key.fires, from, to)
    if count > 2 * kept then
        local old = redis.call('ZRANGEBYLEX', key.fires, from, to, 'LIMIT', 0, count - kept)
        for _, record in ipairs(old) do
            remove(key.fires, record)
        end
    end
end

local function keep(schedule, record, look)
    put(key.schedules, schedule, record)
    add(key.schedule_ids, schedule)
    if look then
        add(key.looks, schedule, look)
    else
        remove(key.looks, schedule)
    end
end

local function fire(decision)
    local schedule, before, record, look, group, times, cancels, told = unpack(decision)
    local stored = redis.call('HGET', key.schedules, schedule)
    if (stored and redis.sha1hex(stored) or '') ~= before then
        return CHANGED
    end
    open_group(group, opaque)
    local answer = #group[1] > 0 and submit(group) or {ACCEPTED}
    if answer[1] == REFUSED then
        return {answer[2], answer[3]}
    elseif answer[1] == EXISTING then
        return answer
    end
    for n, task in ipairs(group[1]) do
        belonging.fired(heads[task[1]], schedule, times[n])
    end
    for _, task in ipairs(cancels) do
        local head = head_of(task)
        if head then
            cancel(head)
        end
    end
    tell(schedule, told)
    keep(schedule, record, look)
    return WRITTEN
end

local may_write, answers = ARGV[4] == nil or leads(tonumber(ARGV[4])), {}
for n, decision in ipairs(decisions) do
    answers[n] = may_write and fire(decision) or DEPOSED
end
release_children()
flush()
return reply({answers, heads_of_lanes(gained), finished})
