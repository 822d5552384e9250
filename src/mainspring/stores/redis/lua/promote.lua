-- uses: moves, reply
-- Scheduled tasks that are due become ready. ARGV[1]: how many at most. Answers {count, ready, next_due_us}.
local due = redis.call('ZRANGEBYSCORE', key.due, '-inf', now, 'LIMIT', 0, ARGV[1])
load(due)
for _, id in ipairs(due) do
    if heads[id] and heads[id][STATE] == SCHEDULED then
        move(heads[id], CAUSE_PROMOTE, READY)
    else
        remove(key.due, id)
    end
end
go_on_when_full()
flush()
local next_due = redis.call('ZRANGE', key.due, 0, 0, 'WITHSCORES')[2]
return reply({#due, heads_of_lanes(gained), next_due and math.max(0, tonumber(next_due) - now) or false})
