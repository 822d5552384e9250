-- uses: reply
-- ARGV[1]: tasks. Answers {task, head, {end, weight} of each block, blocks} of each that has a log. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for _, id in ipairs(ids) do
    if heads[id] and keeps(heads[id], KEPT_LOG) then
        local prefix, ends, fields = prefixed(id), {}, {}
        for n, rest in ipairs(members_with(key.log_ends, prefix)) do
            ends[n] = {struct.unpack('>I8I8', rest)}
            fields[n] = prefix .. string.sub(rest, 1, 8)
        end
        answers[#answers + 1] = {id, part(redis.call('HGET', key.log_heads, id)), ends, parts_of(key.log_blocks, fields)}
    end
end
return reply(answers)
