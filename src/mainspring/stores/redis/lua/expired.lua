-- uses: reply
-- Leases that have lapsed, oldest first. ARGV[1]: how many at most. Writes nothing.
local ids, answers = redis.call('ZRANGEBYSCORE', key.leases, '-inf', now, 'LIMIT', 0, ARGV[1]), {}
load(ids)
for _, id in ipairs(ids) do
    if heads[id] and heads[id][STATE] == RUNNING then
        answers[#answers + 1] = lease_of(heads[id])
    end
end
return reply(answers)
