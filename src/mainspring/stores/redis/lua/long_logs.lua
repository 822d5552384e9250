-- uses: reply
-- Logs of tasks that have ended, and that are longer than they may be then. ARGV[1]: how many at most. Answers {task,
-- its log's head} each. Tasks that still run stay; others are looked at again once they have. Writes nothing.
local answers = {}
local ids = redis.call('ZRANGE', key.long_logs, 0, -1)
load(ids)
for _, id in ipairs(ids) do
    if #answers < tonumber(ARGV[1]) and heads[id] and heads[id][STATE] > RUNNING then
        answers[#answers + 1] = {id, part(redis.call('HGET', key.log_heads, id))}
    end
end
return reply(answers)
