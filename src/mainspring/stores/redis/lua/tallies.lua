-- uses: tallying
-- ARGV[1]: workflows; ARGV[2]: about how many tasks are counted at most. Answers for each, until so many are counted,
-- {its record, tally}, or false if there is none. Writes nothing.
local answers, left = {}, tonumber(ARGV[2])
for n, workflow in ipairs(cmsgpack.unpack(ARGV[1])) do
    if left <= 0 then
        break
    end
    local record = redis.call('HGET', key.workflows, workflow)
    answers[n] = record and {part(record), tally_of(workflow, record)}
    left = left - 1 - (record and answers[n][2][3] or 0)
end
return reply(answers)
