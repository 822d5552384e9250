-- uses: opaque, reply
-- What tasks of another store have recorded. ARGV[1]: {lines, lengths}; ARGV[2]: the blob of their opaque strings. A line:
-- {task, steps as {name, result}, log or false}; a log: {head, blocks as {end, weight, pieces}, whether it is long}.
local lines, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)

local function write_log(head, log)
    local prefix = prefixed(head.id)
    put(key.log_heads, head.id, opaque[log[1]])
    for _, block in ipairs(log[2]) do
        local ends = prefix .. struct.pack('>I8', block[1])
        put(key.log_blocks, ends, opaque[block[3]])
        add(key.log_ends, ends .. struct.pack('>I8', block[2]))
    end
    if log[3] then
        add(key.long_logs, head.id, now)
    end
    note_kept(head, KEPT_LOG, true)
end

local ids = {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for _, line in ipairs(lines) do
    local head = heads[line[1]]
    local prefix = prefixed(head.id)
    for n, step in ipairs(line[2]) do
        put(key.steps, prefix .. step[1], opaque[step[2]])
        add(key.step_names, prefix .. struct.pack('>I8', n) .. step[1])
        note_kept(head, KEPT_STEPS, true)
    end
    if line[3] then
        write_log(head, line[3])
    end
    dirty[head.id] = head
end
flush()
return reply({})
