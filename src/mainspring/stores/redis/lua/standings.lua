-- uses: moves, reply
-- A workflow's tasks as its retry sees them. ARGV[1]: the workflow. Answers {tasks, parents outside of it {task, state,
-- version}}, or false if there is no such workflow; a task: {id, state, rule, whether a parent's end ended it, whether
-- it has started, version, parents}. Writes nothing.
if redis.call('HEXISTS', key.workflows, ARGV[1]) == 0 then
    return reply(false)
end
local ids, inside, asked_for, tasks, outside = members_of(ARGV[1]), {}, {}, {}, {}
for _, id in ipairs(ids) do
    inside[id] = true
end
for _, id in ipairs(ids) do
    local head = heads[id]
    if head then
        local parents = parents_of(head)
        tasks[#tasks + 1] = {
            id, head[STATE], head[ON_PARENT_FAILURE],
            head[STATE] == CANCELLED and fetch(key.ends, id) == DOOMED_END, head[ATTEMPT] > 0, head[VERSION], parents,
        }
        for _, parent in ipairs(parents) do
            if not inside[parent] then
                asked_for[#asked_for + 1] = parent
                inside[parent] = true
            end
        end
    end
end
load(asked_for)
for _, id in ipairs(asked_for) do
    if heads[id] then
        outside[#outside + 1] = {id, heads[id][STATE], heads[id][VERSION]}
    end
end
return reply({tasks, outside})
