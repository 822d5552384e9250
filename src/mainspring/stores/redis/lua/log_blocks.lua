-- uses: reply
-- ARGV: task, after which byte, how many blocks at most. Answers false where there is no task, else {head, {end, pieces}
-- of each block}. Writes nothing.
local task, answers = ARGV[1], {}
local head = head_of(task)
if not head then
    return reply(false)
end
local prefix = prefixed(task)
local from = '[' .. prefix .. struct.pack('>I8', ARGV[2] + 1)
local found = redis.call('ZRANGEBYLEX', key.log_ends, from, '(' .. prefix .. '\255', 'LIMIT', 0, ARGV[3])
for n, member in ipairs(found) do
    local field = string.sub(member, 1, #prefix + 8)
    local ends = struct.unpack('>I8', field, #prefix + 1)
    answers[n] = {ends, part(redis.call('HGET', key.log_blocks, field))}
end
return reply({part(redis.call('HGET', key.log_heads, task)), answers})
