-- uses: belonging, reply
-- ARGV: schedule, its record as it was read. Answers whether it is forgotten: not if it has changed.
local schedule, record = ARGV[1], ARGV[2]
local is_same = redis.call('HGET', key.schedules, schedule) == record
if is_same then
    local prefix = prefixed(schedule)
    redis.call('HDEL', key.schedules, schedule)
    redis.call('ZREM', key.schedule_ids, schedule)
    redis.call('ZREM', key.looks, schedule)
    redis.call('ZREMRANGEBYLEX', key.fires, '[' .. prefix, '(' .. prefix .. '\255')
end
return reply(is_same)
