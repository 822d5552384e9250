-- uses: reply
-- Of these tasks those that match. ARGV[1]: tasks; ARGV[2]: {states, queue, kind, tenant, workflow, fingerprint, how many
-- at most}; what is not asked for is false. Answers {views, how many were looked at}. Writes nothing.
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

local answers, looked = {}, 0
load(ids)
for _, id in ipairs(ids) do
    if #answers == most then
        break
    end
    looked = looked + 1
    if heads[id] and matches(heads[id]) then
        answers[#answers + 1] = view(id)
    end
end
return reply({answers, looked})
