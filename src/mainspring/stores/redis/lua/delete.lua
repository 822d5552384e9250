-- uses: forgetting, reply
-- ARGV[1]: tasks. Answers for each false, or why it was not forgotten.
local ids, answers = cmsgpack.unpack(ARGV[1]), {}
load(ids)
for n, id in ipairs(ids) do
    local head = heads[id]
    if not head then
        answers[n] = {'not_found'}
    elseif head[STATE] <= RUNNING then
        answers[n] = {'wrong_state', head[STATE]}
    elseif is_needed(id) then
        answers[n] = {'depended_on'}
    else
        forget(head)
        answers[n] = false
    end
end
go_on_when_full()
flush()
return reply(answers)
