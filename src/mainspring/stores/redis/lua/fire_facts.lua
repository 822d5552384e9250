-- uses: belonging, leading, reply
-- What a decision about schedules has to know. ARGV[1]: {schedules, fires, tasks}; fires: {schedule, time}; ARGV[2]: how
-- many unfinished tasks; ARGV[3]: a leader's term, if there is one. Answers {unfinished tasks of each schedule, oldest
-- first, the task of each fire or false, whether each task is stored, whether the term stands, the schedules' records or
-- 0}. Writes nothing.
local schedules, times, tasks = unpack(cmsgpack.unpack(ARGV[1]))
local unfinished, made, stored = {}, {}, {}

local function tasks_of(set, prefix, skipped, limit)
    local found = {}
    for n, fire in ipairs(redis.call('ZRANGEBYLEX', set, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, limit)) do
        found[n] = string.sub(fire, #prefix + skipped + 1)
    end
    return found
end

for n, schedule in ipairs(schedules) do
    unfinished[n] = tasks_of(key.open_fires, prefixed(schedule), 8, ARGV[2])
end
for n, fire in ipairs(times) do
    made[n] = tasks_of(key.fired, fires_at(fire[1], fire[2]), 0, 1)[1] or false
end
for n, task in ipairs(tasks) do
    stored[n] = redis.call('HEXISTS', key.heads, task) == 1
end
local stands = ARGV[3] == nil or leads(tonumber(ARGV[3]))
return reply({unfinished, made, stored, stands, parts_of(key.schedules, schedules)})
