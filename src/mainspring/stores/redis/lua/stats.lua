-- uses: reply
-- Answers {`state:queue`, count} for each that is not zero. Writes nothing.
local counts, answers = redis.call('HGETALL', key.counts), {}
for n = 1, #counts, 2 do
    answers[#answers + 1] = {counts[n], tonumber(counts[n + 1])}
end
return reply(answers)
