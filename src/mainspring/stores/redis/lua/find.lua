-- uses: reply
-- Of these tasks those that match. ARGV[1]: tasks; ARGV[2]: {states, queue, kind, tenant, workflow, fingerprint, how many
-- at most}; what is not asked for is false; ARGV[3]: about how many bytes. Answers {views, how many were looked at,
-- whether there were so many bytes}. Writes nothing.
local ids = cmsgpack.unpack(ARGV[1])
local states, queue, kind, tenant, workflow, fingerprint, most = unpack(cmsgpack.unpack(ARGV[2]))
local wanted = {}
for _, state in ipairs(states) do
    wanted[state] = true
end

local function matches(head)
    local lane = lane_of(head[LANE])
    return lane and (#states == 0 or wanted[head[STATE]]) and (not queue or lane[1] == queue)
        and (not kind or lane[2] == kind) and (not tenant or lane[3] == tenant)
        and (not workflow or head[WORKFLOW] == workflow)
        and (not fingerprint or head[FINGERPRINT] == fingerprint)
end

local HASHES = {
    [KEPT_END] = key.ends, [KEPT_ATTEMPTS] = key.attempts, [KEPT_CHECKPOINT] = key.checkpoints,
    [KEPT_PROGRESS] = key.progress,
}

local function size_of(head)
    local size = redis.call('HSTRLEN', key.bodies, head.id)
    for kept, hash in pairs(HASHES) do
        if keeps(head, kept) then
            size = size + redis.call('HSTRLEN', hash, head.id)
        end
    end
    return size
end

local answers, looked, size, most_bytes = {}, 0, 0, tonumber(ARGV[3])
load(ids)
for _, id in ipairs(ids) do
    if #answers == most or size >= most_bytes then
        break
    end
    looked = looked + 1
    if heads[id] and matches(heads[id]) then
        answers[#answers + 1] = view(id)
        size = size + size_of(heads[id])
    end
end
return reply({answers, looked, size >= most_bytes})
