-- uses: tallying
-- ARGV[1]: a workflow. Answers {its record, tally, {view, part} of each of its tasks, parents before children}, or false.
-- Writes nothing.
local workflow = ARGV[1]
local record = redis.call('HGET', key.workflows, workflow)
if not record then
    return reply(false)
end
local tasks = {}
for _, id in ipairs(members_of(workflow)) do
    if heads[id] then
        tasks[#tasks + 1] = {view(id), heads[id][CALLBACK]}
    end
end
return reply({part(record), tally_of(workflow, record), tasks})
