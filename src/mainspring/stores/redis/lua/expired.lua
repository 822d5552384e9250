-- uses: holding, reply
-- Leases that have lapsed, oldest first. ARGV[1]: how many at most. Tasks of no lane are left out: the auditor tells of
-- them. Writes nothing.
local lapsed, answers = {}, {}
for _, claim in ipairs(redis.call('ZRANGEBYSCORE', key.claims, '-inf', now, 'LIMIT', 0, CHUNK)) do
    for _, head in ipairs(running_of(claim)) do
        if head[LEASE_UNTIL] <= now and lane_of(head[LANE]) then
            lapsed[#lapsed + 1] = head
        end
    end
end
table.sort(lapsed, function(one, other) return one[LEASE_UNTIL] < other[LEASE_UNTIL] end)
for n = 1, math.min(#lapsed, tonumber(ARGV[1])) do
    answers[n] = lease_of(lapsed[n])
end
return reply(answers)
