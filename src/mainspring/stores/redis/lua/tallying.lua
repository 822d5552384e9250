-- uses: moves, reply
-- How workflows stand: counted from the heads of their tasks, so that there is nothing that could be wrong.
local function ended_as(id, text)
    return fetch(key.ends, id) == text
end

-- {members by state, with those that are gone; callbacks {part, state, whether it ended because nothing failed};
-- how many were counted}
local function tally_of(workflow)
    local members, callbacks, ids = {0, 0, 0, 0, 0, 0, 0}, {}, members_of(workflow)
    for _, id in ipairs(ids) do
        local head = heads[id]
        if head and head[CALLBACK] then
            local is_spared = head[STATE] == CANCELLED and ended_as(id, SPARED_END)
            callbacks[#callbacks + 1] = {head[CALLBACK], head[STATE], is_spared}
        elseif head then
            members[head[STATE]] = members[head[STATE]] + 1
        end
    end
    for state = SUCCEEDED, CANCELLED do
        local gone = tonumber(redis.call('HGET', key.forgotten, state .. ':' .. workflow) or 0)
        members[state] = members[state] + (gone or 0)
    end
    return {members, callbacks, #ids}
end
