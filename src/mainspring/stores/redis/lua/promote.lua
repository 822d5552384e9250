-- Scheduled tasks that are due become ready. ARGV[1]: how many at most. Answers {count, ready, next_due_us}.
local due = redis.call('ZRANGEBYSCORE', key.due, '-inf', now, 'LIMIT', 0, ARGV[1])
load(due)
for _, id in ipairs(due) do
    move(heads[id], READY)
end
local packed = flush()
local next_due = redis.call('ZRANGE', key.due, 0, 0, 'WITHSCORES')[2]
return reply({#due, ready_lanes(), next_due and math.max(0, tonumber(next_due) - now) or false}, packed)
