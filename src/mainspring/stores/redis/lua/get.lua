-- ARGV[1]: tasks. Answers a view for each, or 0 where there is none. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for n, id in ipairs(ids) do
    answers[n] = heads[id] and view(id) or 0
end
return reply(answers, {})
