-- uses: moves, reply
-- ARGV: how many at most, grace_us. Answers {leases of runs that should have ended, waiting tasks past their deadline as
-- {task, version, lane}}. Writes nothing.
local limit, grace = ARGV[1], tonumber(ARGV[2])
local runs = redis.call('ZRANGEBYSCORE', key.timeouts, '-inf', now - grace, 'LIMIT', 0, limit)
local late = redis.call('ZRANGEBYSCORE', key.deadlines, '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, limit)
load(runs)
load(late)
for n, id in ipairs(runs) do
    runs[n] = lease_of(heads[id])
end
for n, id in ipairs(late) do
    local head = heads[id]
    late[n] = {id, head[VERSION], head[LANE]}
    told_lanes[head[LANE]] = true
end
return reply({runs, late})
