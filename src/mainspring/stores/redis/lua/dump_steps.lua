-- uses: reply
-- ARGV[1]: tasks. Answers {task, names, results} of each that has recorded steps. Writes nothing.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for _, id in ipairs(ids) do
    if heads[id] and keeps(heads[id], KEPT_STEPS) then
        local prefix, names, fields = prefixed(id), {}, {}
        for n, rest in ipairs(members_with(key.step_names, prefix)) do
            names[n] = string.sub(rest, 9)
            fields[n] = prefix .. names[n]
        end
        answers[#answers + 1] = {id, names, parts_of(key.steps, fields)}
    end
end
return reply(answers)
