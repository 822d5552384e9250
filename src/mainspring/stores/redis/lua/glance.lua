-- uses: reply
-- ARGV[1]: tasks. Answers {state, version, progress, its log's head} for each, or false. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for n, id in ipairs(ids) do
    local head = heads[id]
    answers[n] = head and {
        head[STATE], head[VERSION],
        keeps(head, KEPT_PROGRESS) and part(redis.call('HGET', key.progress, id)) or 0,
        keeps(head, KEPT_LOG) and part(redis.call('HGET', key.log_heads, id)) or 0,
    }
end
return reply(answers)
