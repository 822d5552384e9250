-- uses: auditing
-- Records that people may have written into, raw. ARGV: `idempotency`, `workflows` or `schedules`; packed names, or ''
-- for those from a cursor on (ARGV[3]), about ARGV[4] of them; ARGV[5]: how many of a schedule's latest fires. Answers
-- {records, next cursor}; a record: {name, its text, where it stands: the end of a key, the place of a workflow, the
-- next look of a schedule; besides: whether a workflow has tasks, its sums of forgotten ones and the parts that tasks
-- say they have; whether a schedule is listed, and its fires}. Writes nothing.
local PLACES = {idempotency = 'expiring', workflows = 'founded', schedules = 'looks'}
local table_, cursor, names = ARGV[1], ARGV[3] or '0', {}

local function of_workflow(workflow)
    local sums_told, parts_told, prefix = {}, {}, prefixed(workflow)
    for state = SUCCEEDED, CANCELLED do
        local gone = redis.call('HGET', key.forgotten, state .. ':' .. workflow)
        sums_told[#sums_told + 1] = part(gone == '' and '?' or gone)
    end
    local has_tasks = redis.call('ZLEXCOUNT', key.members, '[' .. prefix, '(' .. prefix .. '\255') > 0
    if ARGV[2] ~= '' then
        for _, rest in ipairs(members_with(key.members, prefix)) do
            local head = head_of(string.sub(rest, 9))
            if head and head[CALLBACK] then
                parts_told[#parts_told + 1] = {head.id, head[CALLBACK]}
            end
        end
    end
    return {has_tasks, sums_told, parts_told}
end

local function of_schedule(schedule)
    local prefix, fires = prefixed(schedule), {}
    local from, to = '[' .. prefix, '(' .. prefix .. '\255'
    for n, fire in ipairs(redis.call('ZREVRANGEBYLEX', key.fires, to, from, 'LIMIT', 0, ARGV[5])) do
        fires[n] = part(fire)
    end
    return {redis.call('ZSCORE', key.schedule_ids, schedule) and true or false, fires}
end

if ARGV[2] ~= '' then
    names = cmsgpack.unpack(ARGV[2])
else
    local found = redis.call('HSCAN', key[table_], cursor, 'COUNT', ARGV[4])
    cursor = found[1]
    for n = 1, #found[2], 2 do
        names[#names + 1] = found[2][n]
    end
end
local records = {}
for _, name in ipairs(names) do
    local text = redis.call('HGET', key[table_], name)
    local besides = table_ == 'workflows' and of_workflow(name) or table_ == 'schedules' and of_schedule(name) or {}
    if text then
        local place = redis.call('ZSCORE', key[PLACES[table_]], name)
        records[#records + 1] = {name, part(text), tonumber(place or nil) or false, besides}
    end
end
return reply({records, cursor})
