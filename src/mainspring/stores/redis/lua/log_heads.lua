-- uses: reply
-- Where logs stand. ARGV[1]: tasks. Answers for each the number of its log's head. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
for n, text in ipairs(redis.call('HMGET', key.log_heads, unpack(ids))) do
    answers[n] = part(text)
end
return reply(answers)
