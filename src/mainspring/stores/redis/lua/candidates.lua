-- uses: belonging, holding, reply
-- Tasks among which a page is to be found: the newest of every set that may hold some, in no order. They are sorted by
-- the client, since texts are compared here as the server's locale has it. ARGV[1]: {states, queue or false, workflow or
-- false, how many of each set, cursor or false}. Writes nothing.
local PREFIXES, READ_WHOLE = 64, 5000
local states, queue, workflow, rows, cursor = unpack(cmsgpack.unpack(ARGV[1]))
local wanted, found = {}, {}
for _, state in ipairs(states) do
    wanted[state] = true
end

local function take_newest(set, prefix)
    local behind = cursor and '(' .. prefix .. cursor or prefix == '' and '+' or '(' .. prefix .. '\255'
    local from = prefix == '' and '-' or '[' .. prefix
    for _, member in ipairs(redis.call('ZREVRANGEBYLEX', set, behind, from, 'LIMIT', 0, rows)) do
        found[#found + 1] = string.sub(member, #prefix + 1)
    end
end

local function take_all(set, skipped)
    for _, member in ipairs(redis.call('ZRANGE', set, 0, -1)) do
        found[#found + 1] = string.sub(member, skipped + 1)
    end
end

-- Where tasks in these states stand, queue by queue.
local function prefixes_of()
    local prefixes = {}
    for _, place in ipairs(redis.call('HKEYS', key.counts)) do
        local state, name = tonumber(string.sub(place, 1, 1)), string.sub(place, 3)
        if wanted[state] and state ~= READY and state ~= RUNNING and (not queue or name == queue) then
            prefixes[#prefixes + 1] = string.char(state) .. prefixed(name)
        end
    end
    return prefixes
end

-- Whether the one set of all tasks is the shorter way.
local function is_wide(prefixes)
    return #states == 0 or #prefixes > PREFIXES
        or wanted[READY] and redis.call('ZCARD', key.ready) > READ_WHOLE
        or wanted[RUNNING] and running_count() > READ_WHOLE
end

local prefixes = prefixes_of()
if workflow then
    found = members_of(workflow)
elseif is_wide(prefixes) then
    take_newest(key.tasks, '')
else
    for _, prefix in ipairs(prefixes) do
        take_newest(key.places, prefix)
    end
    if wanted[READY] then
        take_all(key.ready, 16)
    end
    if wanted[RUNNING] then
        for _, id in ipairs(running_tasks()) do
            found[#found + 1] = id
        end
    end
end
return reply(found)
