-- uses: auditing
-- Indexes are mended by what is there now. ARGV[1]: lines {`index`, set, task}, {`stray`, table, task, member as hex},
-- {`kept`, task}, {`group`, fingerprint}, {`claim`, its name as hex}. Answers for each whether anything was to be done.
local function from_hex(text)
    return (string.gsub(text, '..', function(two) return string.char(tonumber(two, 16)) end))
end

local function book_claim(claim)
    local open, first = open_of(claim)
    if open == 0 then
        put(key.claim_open, claim, false)
        close_claim(claim)
        return
    end
    local score = tonumber(redis.call('ZSCORE', key.claims, claim) or nil)
    put(key.claim_open, claim, open)
    add(key.claims, claim, math.min(score or first, first))
    if not holds(claim) then
        local incarnation = string.sub(claim, 3, -9)
        put(key.holding, incarnation, (fetch(key.holding, incarnation) or '') .. string.sub(claim, -8))
    end
end

local function mend_claim(hex)
    local claim = from_hex(hex)
    if not wrong_claim(claim) then
        return false
    end
    book_claim(claim)
    return true
end

local function list(head)
    if is_listed(head) then
        return false
    end
    local claim = claim_of(head)
    local packed = fetch(key.claim_tasks, claim)
    local ids = packed and opened(packed) or {}
    ids[#ids + 1] = head.id
    put(key.claim_tasks, claim, cmsgpack.pack(ids))
    listed[claim] = nil
    book_claim(claim)
    return true
end

local function put_in(set, id)
    local head = head_of(id)
    if set == 'claims' then
        return head and list(head) or false
    end
    local member, score
    if head then
        member, score = member_in(set, head)
    end
    if not member or is_in(set, member, score) then
        return false
    end
    add(key[set], member, score)
    return true
end

local function drop_from(table_, id, hex)
    local member = from_hex(hex)
    local is_hash = redis.call('TYPE', key[table_])['ok'] == 'hash'
    local score = is_hash and redis.call('HEXISTS', key[table_], member) == 1
        or not is_hash and redis.call('ZSCORE', key[table_], member)
    if not score or not is_stray(table_, owner_in(table_, member), member, score) then
        return false
    end
    if is_hash then
        put(key[table_], member, false)
    else
        remove(key[table_], member)
    end
    return true
end

local function note(id)
    local head = head_of(id)
    if not head or type(head[KEPT]) ~= 'number' or kept_of(head) == head[KEPT] then
        return false
    end
    head[KEPT] = kept_of(head)
    dirty[id] = head
    return true
end

local function count_group(fingerprint)
    local there = redis.call('ZLEXCOUNT', key.letters, '[' .. fingerprint, '(' .. fingerprint .. '\255')
    local booked = redis.call('ZSCORE', key.groups, fingerprint)
    if -tonumber(booked or 0) == there then
        return false
    end
    if there > 0 then
        add(key.groups, fingerprint, -there)
    else
        remove(key.groups, fingerprint)
    end
    return true
end

local work, answers = {index = put_in, stray = drop_from, kept = note, group = count_group, claim = mend_claim}, {}
for n, line in ipairs(cmsgpack.unpack(ARGV[1])) do
    answers[n] = work[line[1]](line[2], line[3], line[4])
end
flush()
return reply(answers)
