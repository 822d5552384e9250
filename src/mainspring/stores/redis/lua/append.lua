-- uses: opaque, reply
-- What running tasks record on the way. ARGV[1]: {lines, lengths}; ARGV[2]: the blob of their opaque strings. A line:
-- {task, token, checkpoint, progress, number, steps as {name, result}, log or false}; a log: {head before, head after,
-- blocks as {end, weight, pieces}, blocks to drop as {end, weight}, whether it is long}. Answers OK, LOST, or CHANGED
-- where the log's head is not as it was read: nothing of such a line is written.
local CHANGED = 0

local function keep(head, hash, bit_, text)
    if text ~= '' then
        put(hash, head.id, text)
        note_kept(head, bit_, true)
    end
end

-- But for a line that comes too late, as in `core/progress.py`.
local function mark(head, line, opaque)
    local checkpoint, progress, number = opaque[line[3]], opaque[line[4]], line[5]
    local is_late = 0 < number and head[NOTED_TOKEN] == head[TOKEN] and number < head[NOTED]
    if is_late or checkpoint == '' and progress == '' then
        return
    end
    head[NOTED_TOKEN], head[NOTED] = head[TOKEN], number
    keep(head, key.checkpoints, KEPT_CHECKPOINT, checkpoint)
    keep(head, key.progress, KEPT_PROGRESS, progress)
    dirty[head.id] = head
end

local function add_step(head, name, result)
    local prefix = prefixed(head.id)
    if not fetch(key.steps, prefix .. name) then
        put(key.steps, prefix .. name, result)
        add(key.step_names, prefix .. struct.pack('>I8', mint()) .. name)
        note_kept(head, KEPT_STEPS, true)
        dirty[head.id] = head
    end
end

local function write_log(head, log, opaque)
    local prefix = prefixed(head.id)
    put(key.log_heads, head.id, opaque[log[2]])
    for _, block in ipairs(log[3]) do
        local ends = struct.pack('>I8', block[1])
        put(key.log_blocks, prefix .. ends, opaque[block[3]])
        add(key.log_ends, prefix .. ends .. struct.pack('>I8', block[2]))
    end
    for _, block in ipairs(log[4]) do
        local ends = struct.pack('>I8', block[1])
        put(key.log_blocks, prefix .. ends, false)
        remove(key.log_ends, prefix .. ends .. struct.pack('>I8', block[2]))
    end
    if log[5] then
        add(key.long_logs, head.id, now)
    else
        remove(key.long_logs, head.id)
    end
    note_kept(head, KEPT_LOG, true)
    dirty[head.id] = head
end

local lines, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)

local function append(line)
    local head, log = head_of(line[1]), line[7]
    if not head or head[STATE] ~= RUNNING or head[TOKEN] ~= line[2] then
        return LOST
    end
    if log and (fetch(key.log_heads, head.id) or '') ~= opaque[log[1]] then
        return CHANGED
    end
    mark(head, line, opaque)
    for _, step in ipairs(line[6]) do
        add_step(head, step[1], opaque[step[2]])
    end
    if log then
        write_log(head, log, opaque)
    end
    return OK
end

local ids, answers = {}, {}
for n, line in ipairs(lines) do
    ids[n] = line[1]
end
load(ids)
for n, line in ipairs(lines) do
    answers[n] = append(line)
end
flush()
return reply(answers)
