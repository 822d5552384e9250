-- uses: reply
-- ARGV[1]: tasks. Answers {view, steps} of each that has a history. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for _, id in ipairs(ids) do
    local found = heads[id] and members_with(key.history, prefixed(id)) or {}
    local steps = {}
    for n, rest in ipairs(found) do
        steps[n] = part(string.sub(rest, 9))
    end
    if #steps > 0 then
        answers[#answers + 1] = {view(id), steps}
    end
end
return reply(answers)
