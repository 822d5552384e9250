-- uses: reply
-- ARGV[1]: tasks. Answers a view for each, or false where there is none. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for n, id in ipairs(ids) do
    answers[n] = heads[id] and view(id)
end
return reply(answers)
