-- uses: auditing
-- Facts about tasks. ARGV[1]: packed ids, or '' for those behind ARGV[2] by name, ARGV[3] at most. Answers {tasks, the
-- last number given out}; a task: {id, its head or 0, body, parents, attempts, whether its lane is known, indexes that
-- do not have it, whether another has its place, numbers of parents that are stored, of edges and of open ones, whether
-- its workflow knows it, how it ended, whether KEPT tells what is kept, digest of its head}. Writes nothing.
local function lane_is_known(head)
    local is_read, lane = pcall(lane_of, head[LANE])
    return is_read and lane and lane[5] ~= nil or false
end

local function missing_in(head)
    local missing = {}
    for set in pairs(members_in) do
        local member, score = member_in(set, head)
        if member and not is_in(set, member, score) then
            missing[#missing + 1] = set
        end
    end
    if not is_listed(head) then
        missing[#missing + 1] = 'claims'
    end
    return missing
end

local function place_is_taken(head)
    local member = head[STATE] == READY and member_in('ready', head)
    if not member then
        return false
    end
    local place = string.sub(member, 1, 16)
    local first = redis.call('ZRANGEBYLEX', key.ready, '[' .. place, '(' .. place .. '\255', 'LIMIT', 0, 1)[1]
    return first ~= nil and first ~= member
end

-- Of the parents that it names: how many are stored, have an edge to it, and an open one.
local function edges_of(head)
    local packed = fetch(key.parents, head.id)
    local is_read, parents = pcall(cmsgpack.unpack, packed or '\144')
    local stored, listed, open = 0, 0, 0
    for _, parent in ipairs(is_read and type(parents) == 'table' and parents or {}) do
        local edge = prefixed(parent) .. head.id
        stored = stored + redis.call('HEXISTS', key.heads, parent)
        listed = listed + (redis.call('ZSCORE', key.dependents, edge) and 1 or 0)
        open = open + (redis.call('ZSCORE', key.edges, edge) and 1 or 0)
    end
    return stored, listed, open
end

local function is_known_to_workflow(head)
    if not head[WORKFLOW] then
        return true
    end
    local member, part_ = member_in('members', head), head[CALLBACK]
    if part_ and (type(part_) ~= 'number' or part_ < 1 or part_ > 3) then
        return false
    end
    return redis.call('HEXISTS', key.workflows, head[WORKFLOW]) == 1 and member ~= nil
        and is_in('members', member) ~= false
end

-- Texts by task, of those that have one.
local function texts_in(hash, ids)
    local texts = {}
    for first = 1, #ids, CHUNK do
        local last = math.min(first + CHUNK - 1, #ids)
        for n, text in ipairs(redis.call('HMGET', hash, unpack(ids, first, last))) do
            texts[ids[first + n - 1]] = text or nil
        end
    end
    return texts
end

local function facts_of(id, texts, digest)
    local head = heads[id]
    local body, parents, attempts = part(texts.bodies[id]), part(texts.parents[id]), part(texts.attempts[id])
    if not head then
        return {id, 0, body, parents, attempts, false, {}, false, 0, 0, 0, true, 0, true, digest}
    end
    local stored, listed, open = 0, 0, 0
    if head[STATE] == BLOCKED then
        stored, listed, open = edges_of(head)
    end
    return {
        id, part(cmsgpack.pack({unpack(head, 1, FIELDS)})), body, parents, attempts, lane_is_known(head),
        missing_in(head), place_is_taken(head), stored, listed, open, is_known_to_workflow(head),
        part(texts.ends[id]), type(head[KEPT]) ~= 'number' or kept_of(head, texts) == head[KEPT], digest,
    }
end

local ids, tasks = {}, {}
if ARGV[1] == '' then
    local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
    ids = redis.call('ZRANGEBYLEX', key.tasks, from, '+', 'LIMIT', 0, ARGV[3])
else
    for _, id in ipairs(cmsgpack.unpack(ARGV[1])) do
        if redis.call('HEXISTS', key.heads, id) == 1 then
            ids[#ids + 1] = id
        end
    end
end
load(ids)
local texts = {
    bodies = texts_in(key.bodies, ids), parents = texts_in(key.parents, ids), ends = texts_in(key.ends, ids),
    attempts = texts_in(key.attempts, ids),
}
for _, id in ipairs(ids) do
    -- The digest is for who mends.
    local packed = ARGV[1] ~= '' and redis.call('HGET', key.heads, id)
    tasks[#tasks + 1] = facts_of(id, texts, packed and redis.sha1hex(packed) or '')
end
return reply({tasks, minted, ids[#ids] or false})
