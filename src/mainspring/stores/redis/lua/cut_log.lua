-- uses: reply
-- Drops the oldest of an ended task's log. ARGV[1]: {task, ends and weights of blocks}; ARGV[2] and ARGV[3]: its log's
-- head as it was read and from now on.
local task, blocks = unpack(cmsgpack.unpack(ARGV[1]))
if redis.call('HGET', key.log_heads, task) == ARGV[2] then
    local prefix = prefixed(task)
    for _, block in ipairs(blocks) do
        local ends = struct.pack('>I8', block[1])
        put(key.log_blocks, prefix .. ends, false)
        remove(key.log_ends, prefix .. ends .. struct.pack('>I8', block[2]))
    end
    put(key.log_heads, task, ARGV[3])
    remove(key.long_logs, task)
    flush()
end
return reply({})
