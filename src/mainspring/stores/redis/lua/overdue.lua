-- uses: moves, reply
-- ARGV: how many at most, grace_us. Answers {leases of runs that should have ended, waiting tasks past their deadline as
-- {task, version, lane}}. Writes nothing.
local limit, grace = ARGV[1], tonumber(ARGV[2])
local runs = redis.call('ZRANGEBYSCORE', key.timeouts, '-inf', now - grace, 'LIMIT', 0, limit)
local late = redis.call('ZRANGEBYSCORE', key.deadlines, '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, limit)
load(runs)
load(late)
local leases, waiting = {}, {}
for _, id in ipairs(runs) do
    if heads[id] and heads[id][STATE] == RUNNING and lane_of(heads[id][LANE]) then
        leases[#leases + 1] = lease_of(heads[id])
    end
end
for _, id in ipairs(late) do
    local head = heads[id]
    if head and head[STATE] <= READY then
        waiting[#waiting + 1] = {id, head[VERSION], head[LANE]}
        told_lanes[head[LANE]] = true
    end
end
return reply({leases, waiting})
