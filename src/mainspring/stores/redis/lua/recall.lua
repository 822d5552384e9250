-- uses: moves, reply
-- ARGV[1]: {task, token, steps, parents}; ARGV[2]: how many bytes of ends are read. Answers false where the lease is
-- lost, else {{name, result} of each step, {id, name, state, end} of each parent, or how many bytes their ends
-- have where that is too many}. Writes nothing.
local task, token, wants_steps, wants_parents = unpack(cmsgpack.unpack(ARGV[1]))
local head = head_of(task)
if not head or head[STATE] ~= RUNNING or head[TOKEN] ~= token then
    return reply(false)
end
local steps, parents, size = {}, {}, 0
if wants_steps and keeps(head, KEPT_STEPS) then
    local prefix = prefixed(task)
    for n, rest in ipairs(members_with(key.step_names, prefix)) do
        local name = string.sub(rest, 9)
        steps[n] = {name, part(redis.call('HGET', key.steps, prefix .. name))}
    end
end
local named = wants_parents and parents_of(head) or {}
load(named)
for _, id in ipairs(named) do
    if heads[id] and keeps(heads[id], KEPT_END) then
        size = size + redis.call('HSTRLEN', key.ends, id)
    end
end
if size > tonumber(ARGV[2]) then
    return reply({steps, size})
end
for _, id in ipairs(named) do
    local parent = heads[id]
    if parent then
        local ended = keeps(parent, KEPT_END) and redis.call('HGET', key.ends, id)
        parents[#parents + 1] = {id, parent[NAME], parent[STATE], part(ended)}
    end
end
return reply({steps, parents})
