-- uses: moves, opaque, reply
-- Tasks of another store. ARGV[1]: {lines, lengths}; ARGV[2]: the blob of their opaque strings. A line: {task, lane,
-- fields of its head, body, end, attempts, checkpoint, progress}. Those that are there already are passed over.
local lines, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)

-- It died when it did, not now.
belonging.died = function(head)
    add(key.dead, head.id, head[FINISHED])
    if head[FINGERPRINT] then
        add(key.letters, letter_of(head))
        count_letters(head[FINGERPRINT], 1)
    end
end

local function keep(head, hash, bit_, text)
    if text ~= '' then
        put(hash, head.id, text)
        note_kept(head, bit_, true)
    end
end

local function store(line)
    local id, head = line[1], line[3]
    head.id, head[LANE], head[KEPT] = id, lane_id(line[2]), 0
    minted = math.max(minted, head[TOKEN], head[VERSION], head[SEQ] or 0)
    head[ORDINAL] = mint()
    heads[id], dirty[id] = head, head
    put(key.bodies, id, opaque[line[4]])
    keep(head, key.ends, KEPT_END, opaque[line[5]])
    keep(head, key.attempts, KEPT_ATTEMPTS, opaque[line[6]])
    keep(head, key.checkpoints, KEPT_CHECKPOINT, opaque[line[7]])
    keep(head, key.progress, KEPT_PROGRESS, opaque[line[8]])
    add(key.tasks, id)
    sum(key.lane_uses, head[LANE], 1)
    if head[UNIQUE] then
        add(key.uniques, prefixed(head[UNIQUE]) .. struct.pack('>I8', head[ORDINAL]) .. id)
    end
    if head[SCHEDULE] then
        add(key.fired, fires_at(head[SCHEDULE], head[FIRE_AT]) .. id)
    end
    enter(head, true)
end

local ids = {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for _, line in ipairs(lines) do
    if not heads[line[1]] then
        store(line)
    end
end
flush()
return reply({})
