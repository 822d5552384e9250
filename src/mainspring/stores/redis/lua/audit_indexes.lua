-- uses: auditing
-- What stands in an index or in a table beside the heads, and has no head that says so. ARGV: the number of the table to
-- begin with, the cursor in it, how many entries to look at. Answers {strays {table, task, member, how many of a claim's
-- tasks run}, number and cursor of where to go on, or 0 at the end}. Writes nothing.
local SETS = {
    'tasks', 'places', 'ready', 'due', 'deadlines', 'timeouts', 'uniques', 'dead', 'letters',
    'fired', 'open_fires', 'members', 'unresolved', 'long_logs', 'history', 'step_names', 'log_ends',
    'founded', 'schedule_ids', 'looks', 'fires', 'expiring', 'claimants', 'claims',
}
local HASHES = {
    'heads', 'bodies', 'ends', 'attempts', 'checkpoints', 'progress', 'parents', 'log_heads', 'steps', 'log_blocks',
    'claim_tasks', 'claim_open', 'holding',
}
local number, cursor, left = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local strays = {}

local function look_at_claim(claim)
    local open = wrong_claim(claim)
    if open then
        strays[#strays + 1] = {'claims', part(string.sub(claim, 3, -9)), part(claim), open}
    end
end

local function look_at(table_, member, other)
    if table_ == 'claims' or table_ == 'claim_tasks' or table_ == 'claim_open' then
        look_at_claim(member)
    elseif table_ == 'holding' then
        for first = 1, #other - 7, 8 do
            look_at_claim(prefixed(member) .. string.sub(other, first, first + 7))
        end
    else
        local id = owner_in(table_, member)
        if is_stray(table_, id, member, other) then
            strays[#strays + 1] = {table_, part(id), part(member), 0}
        end
    end
end

while left > 0 and number <= #SETS + #HASHES do
    local set, hash = SETS[number], HASHES[number - #SETS]
    local command = set and 'ZSCAN' or 'HSCAN'
    local found = redis.call(command, key[set or hash], cursor, 'COUNT', math.min(left, set and CHUNK or 100))
    local ids = {}
    for n = 1, #found[2], 2 do
        ids[#ids + 1] = owner_in(set or hash, found[2][n])
    end
    load(ids)
    for n = 1, #found[2], 2 do
        look_at(set or hash, found[2][n], found[2][n + 1])
        left = left - 1
    end
    cursor = found[1]
    if cursor == '0' then
        number = number + 1
    end
end
return reply({strays, number <= #SETS + #HASHES and number or 0, cursor})
