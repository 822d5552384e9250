-- uses: moves, reply
-- How workflows stand: counted from the heads of their tasks, so that there is nothing that could be wrong.
local function ended_as(id, text)
    return fetch(key.ends, id) == text
end

-- The callbacks that a workflow's record names.
local function callbacks_in(record)
    local is_read, kept = pcall(cjson.decode, record)
    local named = {}
    for _, id in pairs(is_read and type(kept) == 'table' and type(kept[4]) == 'table' and kept[4] or {}) do
        named[id] = true
    end
    return named
end

local function count_states(ids, named, members)
    for first = 1, #ids, CHUNK do
        local last = math.min(first + CHUNK - 1, #ids)
        for n, packed in ipairs(redis.call('HMGET', key.heads, unpack(ids, first, last))) do
            local state = packed and not named[ids[first + n - 1]] and state_in(packed)
            if members[state] then
                members[state] = members[state] + 1
            end
        end
    end
end

-- {members by state, with those that are gone; callbacks {part, state, whether it ended because nothing failed};
-- how many were counted}
local function tally_of(workflow, record)
    local members, callbacks, ids = {0, 0, 0, 0, 0, 0, 0}, {}, ids_in(workflow)
    local named = callbacks_in(record)
    count_states(ids, named, members)
    for id in pairs(named) do
        local head = head_of(id)
        if head and head[CALLBACK] then
            local is_spared = head[STATE] == CANCELLED and ended_as(id, SPARED_END)
            callbacks[#callbacks + 1] = {head[CALLBACK], head[STATE], is_spared}
        end
    end
    for state = SUCCEEDED, CANCELLED do
        local gone = tonumber(redis.call('HGET', key.forgotten, state .. ':' .. workflow) or 0)
        members[state] = members[state] + (gone or 0)
    end
    return {members, callbacks, #ids}
end
