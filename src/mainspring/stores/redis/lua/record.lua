-- uses: clock
-- Heads of tasks: loaded once per call and changed in memory. What is to be written is gathered, and written by
-- `flush`, one command for many members: a script that fails before has changed nothing.
-- A field that is not set is `false`. Whole numbers stay below 2^53; larger ones, which only users' own times can be,
-- are text: equal ones stay equal, and `tonumber` is near enough to compare them with the clock.
local now = now_us()
local minted = tonumber(redis.call('HGET', key.meta, 'minted') or 0)
local minted_before = minted
local heads, dirty, told_as = {}, {}, {}
-- Heads that were changed as text, and are not loaded.
local head_texts = {}
-- `usage` (limits.lua) is told of every task that starts or stops to run, `belonging` (belonging.lua) of tasks of
-- schedules and workflows, and of dead letters.
local usage, belonging = {}, {}

local function mint()
    minted = now > minted and now or minted + 1
    return minted
end

-- Above what a field held before, even if that was minted by a clock that was ahead.
local function mint_above(former)
    local number = mint()
    return number > former and number or former + 1
end

local function prefixed(text)
    return struct.pack('>I2', #text) .. text
end

-- A packed table, or `nil` if it is none.
local function opened(packed)
    local is_read, value = pcall(cmsgpack.unpack, packed)
    return is_read and type(value) == 'table' and value or nil
end

-- A head as it is stored: the fields that every task has as numbers of fixed width, in the order of the fields; behind
-- them those that few tasks have, if any is set. Raises an error for a text that is no head.
local function parse_head(packed)
    -- Made with room for all of them: a table that grows is made anew each time.
    local head, from = {NO_FIELDS, id = false}, nil
    HEAD_FIELDS, from = struct.unpack(HEAD_FORM, packed)
    if from <= #packed then
        for field, value in pairs(cmsgpack.unpack(string.sub(packed, from))) do
            head[field] = value
        end
    end
    for field = SEQ, FINISHED do
        if head[field] == 0 then
            head[field] = false
        end
    end
    if head[WORKER] == '' then
        head[WORKER] = false
    end
    if head[INCARNATION] == '' then
        head[INCARNATION] = false
    end
    head[IS_PARENT] = head[IS_PARENT] == 1
    return head
end

-- The state alone, and the lane alone, of many heads.
local function state_in(packed)
    return string.byte(packed)
end

local function lane_in(packed)
    local _, lane = struct.unpack('>BI8', packed)
    return lane
end

local function pack_head(head)
    local rare = nil
    for field = FIRST_RARE, FIELDS do
        if head[field] then
            rare = rare or {}
            rare[field] = head[field]
        end
    end
    local worker, incarnation = head[WORKER] or '', head[INCARNATION] or ''
    local packed = struct.pack(
        HEAD_FORM, head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9], head[10],
        head[11], head[12], head[13], head[14], head[15], head[IS_PARENT] and 1 or 0, head[17], head[SEQ] or 0,
        head[STARTED] or 0, head[LEASE_UNTIL] or 0, head[FINISHED] or 0, #worker, worker, #incarnation, incarnation
    )
    return rare and packed .. cmsgpack.pack(rare) or packed
end

-- One that cannot be read counts as missing: until it is mended it must not stop anybody else.
local function open_head(id, packed)
    local head = parse_head(packed)
    head.id = id
    heads[id] = head
end

local function open_heads(ids, packed)
    for n, id in ipairs(ids) do
        if packed[n] then
            open_head(id, packed[n])
        end
    end
end

-- Reads the heads of these tasks that are not loaded yet, in few commands.
local function load(ids)
    local missing = {}
    for _, id in ipairs(ids) do
        if head_texts[id] then
            open_head(id, head_texts[id])
            dirty[id], head_texts[id] = heads[id], nil
        elseif heads[id] == nil then
            heads[id] = false
            missing[#missing + 1] = id
        end
    end
    for first = 1, #missing, CHUNK do
        local some = {unpack(missing, first, math.min(first + CHUNK - 1, #missing))}
        local packed = redis.call('HMGET', key.heads, unpack(some))
        if not pcall(open_heads, some, packed) then
            for n, id in ipairs(some) do
                pcall(open_head, id, packed[n])
            end
        end
    end
end

local function head_of(id)
    if heads[id] == nil then
        load({id})
    end
    return heads[id]
end

-- What is stored of heads, as text; and one of them, loaded.
local function read_texts(ids)
    local texts = {}
    for first = 1, #ids, CHUNK do
        local some = redis.call('HMGET', key.heads, unpack(ids, first, math.min(first + CHUNK - 1, #ids)))
        for n, text in ipairs(some) do
            texts[first + n - 1] = text
        end
    end
    return texts
end

local function head_read(id, text)
    if heads[id] == nil and not head_texts[id] then
        heads[id] = false
        if text then
            pcall(open_head, id, text)
        end
    end
    return head_of(id)
end

local function touch(head)
    head[VERSION] = mint_above(head[VERSION])
    told_as[head.id] = nil
    dirty[head.id] = head
end

-- Which other tables hold something of a task is noted in its head, so that nobody looks there in vain.
local function keeps(head, bit_)
    return bit.band(head[KEPT], bit_) ~= 0
end

local function note_kept(head, bit_, is_kept)
    head[KEPT] = is_kept and bit.bor(head[KEPT], bit_) or bit.band(head[KEPT], bit.bnot(bit_))
end

-- --- what is to be written -----------------------------------------------------------------------
-- By the names of keys; what is gathered for one is made when it is first asked for.
local by_key = {__index = function(tables, name)
    local gathered = {}
    tables[name] = gathered
    return gathered
end}
local hashes, sets, sums = setmetatable({}, by_key), setmetatable({}, by_key), setmetatable({}, by_key)

-- The value `false` drops the field.
local function put(hash, field, value)
    hashes[hash][field] = value
end

local function add(set, member, score)
    sets[set][member] = score or 0
end

local function remove(set, member)
    sets[set][member] = false
end

local function sum(hash, field, step)
    local found = sums[hash]
    found[field] = (found[field] or 0) + step
end

-- Members that nothing else of this call speaks of are listed as commands want them: what `sets` and `hashes` hold is
-- looked up, and made to such lists at the end.
local listed = {additions = {}, removals = {}, fields = {}}

local function list(lists, name, one, other)
    local found = lists[name] or {}
    local last = #found
    lists[name] = found
    found[last + 1], found[last + 2] = one, other
end

-- A field as this call has left it.
local function fetch(hash, field)
    local pending = hashes[hash][field]
    if pending ~= nil then
        return pending
    end
    return redis.call('HGET', hash, field)
end

local function write(command, name, arguments)
    for first = 1, #arguments, CHUNK do
        redis.call(command, name, unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
    end
end

-- A server that is out of memory refuses a script's first write if it needs memory, and lets one finish that has
-- begun to write. What must go on when no task can be stored any more begins by removing nothing.
local function go_on_when_full()
    redis.call('ZREM', key.expiring, '')
end

local function split(pending, swaps)
    local gone, come, last = {}, {}, 0
    for member, value in pairs(pending) do
        if value == false then
            gone[#gone + 1] = member
        else
            come[last + 1], come[last + 2] = swaps and value or member, swaps and member or value
            last = last + 2
        end
    end
    return gone, come
end

local function write_listed(command, name, lists)
    local found = lists[name]
    if found then
        lists[name] = nil
        write(command, name, found)
    end
end

-- Must come before a set is read that this call may have changed.
local function sync(set)
    local gone, come = split(sets[set], true)
    write_listed('ZREM', set, listed.removals)
    write_listed('ZADD', set, listed.additions)
    sets[set] = nil
    write('ZREM', set, gone)
    write('ZADD', set, come)
end

local function write_hashes()
    local added = {}
    for name, pending in pairs(hashes) do
        local gone, come = split(pending, false)
        write('HDEL', name, gone)
        added[name] = come
    end
    for name, come in pairs(added) do
        write('HSET', name, come)
    end
    for name, pending in pairs(listed.fields) do
        write('HSET', name, pending)
    end
    hashes, listed.fields = setmetatable({}, by_key), {}
end

local function write_sums()
    for name, pending in pairs(sums) do
        for field, step in pairs(pending) do
            if step ~= 0 and redis.call('HINCRBY', name, field, step) == 0 then
                redis.call('HDEL', name, field)
            end
        end
    end
    sums = setmetatable({}, by_key)
end

local function write_heads()
    local come, last = {}, 0
    for id, text in pairs(head_texts) do
        come[last + 1], come[last + 2] = id, text
        last = last + 2
    end
    for id, head in pairs(dirty) do
        come[last + 1], come[last + 2] = id, told_as[id] or pack_head(head)
        last = last + 2
    end
    dirty, head_texts = {}, {}
    write('HSET', key.heads, come)
end

local write_lane_uses, write_claims  -- defined below

local function flush()
    write_claims()
    for _, gathered in ipairs({sets, listed.removals, listed.additions}) do
        for name in pairs(gathered) do
            sync(name)
        end
    end
    write_heads()
    write_lane_uses()
    write_hashes()
    write_sums()
    if minted ~= minted_before then
        redis.call('HSET', key.meta, 'minted', minted)
        minted_before = minted
    end
end

-- --- lanes ---------------------------------------------------------------------------------------
-- number -> {queue, kind, tenant, priority, key, text = ..., names = ...}, or false.
local lanes = {}

local function read_lane(text)
    local lane = cjson.decode(text)
    lane.text, lane.prefix = text, prefixed(lane[1])
    lane.names = {'queue:' .. lane[1], 'kind:' .. lane[2], 'tenant:' .. lane[3]}
    if lane[5] ~= '' then
        lane.names[4] = 'key:' .. lane[5]
    end
    lane.counts = {}
    for state = BLOCKED, CANCELLED do
        lane.counts[state] = state .. ':' .. lane[1]
    end
    return lane
end

local function lane_of(number)
    local lane = lanes[number]
    if lane == nil then
        local text = redis.call('HGET', key.lanes, number)
        local is_read, found = pcall(read_lane, text)
        lane = is_read and found
        lanes[number] = lane
    end
    return lane
end

-- A task whose lane is lost can still end.
local function lost_lane()
    return read_lane('["", "", "", 0, ""]')
end

local function lane_numbered(number)
    return lanes[number] or lane_of(number) or lost_lane()
end

local function lane_for(head)
    return lane_numbered(head[LANE])
end

local lane_numbers = {}

local function lane_id(text)
    local number = lane_numbers[text] or tonumber(fetch(key.lane_ids, text) or nil)
    if not number then
        number = mint()
        put(key.lane_ids, text, number)
        put(key.lanes, number, text)
    end
    lanes[number] = lanes[number] or read_lane(text)
    lane_numbers[text] = number
    return number
end

-- A lane goes with its last task: nodes that still know its number are told that it is empty.
write_lane_uses = function()
    for number, step in pairs(sums[key.lane_uses]) do
        if step ~= 0 and redis.call('HINCRBY', key.lane_uses, number, step) == 0 then
            redis.call('HDEL', key.lane_uses, number)
            put(key.lanes, number, false)
            put(key.lane_ids, (lane_of(number) or lost_lane()).text, false)
        end
    end
    sums[key.lane_uses] = nil
end

-- --- names of members in sets that are sorted by name --------------------------------------------
local function place_in_line(head)
    return struct.pack('>I8I8', head[LANE], head[SEQ]) .. head.id
end

-- Most tasks of a call are of one claim: its name is kept.
local claim_named = {}

local function claims_of(incarnation, claim_seq)
    if claim_named.of ~= incarnation or claim_named.seq ~= claim_seq then
        local name = prefixed(incarnation) .. struct.pack('>I8', claim_seq)
        claim_named = {of = incarnation, seq = claim_seq, name = name}
    end
    return claim_named.name
end

local function claim_of(head)
    return claims_of(head[INCARNATION], head[CLAIM_SEQ])
end

-- A claim goes with its last running task.
local function close_claim(claim)
    local incarnation, number = string.sub(claim, 3, -9), string.sub(claim, -8)
    local numbers, rest = fetch(key.holding, incarnation) or '', {}
    for first = 1, #numbers, 8 do
        local other = string.sub(numbers, first, first + 7)
        if other ~= number then
            rest[#rest + 1] = other
        end
    end
    put(key.holding, incarnation, #rest > 0 and table.concat(rest))
    put(key.claim_tasks, claim, false)
    remove(key.claims, claim)
end

write_claims = function()
    for claim, step in pairs(sums[key.claim_open]) do
        if redis.call('HINCRBY', key.claim_open, claim, step) <= 0 then
            redis.call('HDEL', key.claim_open, claim)
            close_claim(claim)
        end
    end
    sums[key.claim_open] = nil
end

local function place_of(head)
    return string.char(head[STATE]) .. lane_for(head).prefix .. head.id
end

-- All members of a set that begin with `prefix`, without it.
local function members_with(set, prefix)
    local found = redis.call('ZRANGEBYLEX', set, '[' .. prefix, '(' .. prefix .. '\255')
    for n, member in ipairs(found) do
        found[n] = string.sub(member, #prefix + 1)
    end
    return found
end
