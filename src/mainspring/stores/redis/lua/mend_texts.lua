-- uses: auditing
-- Records that people may have written into, made anew if they are as they were read. ARGV[1]: lines {hash, field, digest
-- of its text, number of its new text (0 drops it), more}; ARGV[2] on: texts. `more` goes along: {`add`, set, number of
-- a text, score}, {`remove`, set, number}, {`drop`, hash, number}, {`tell`, `fires`, number}. Answers for each whether
-- it was as it was read.
local function go_along(field, what, table_, number, score)
    local text = ARGV[number + 1]
    if what == 'add' then
        add(key[table_], text, score)
    elseif what == 'remove' then
        remove(key[table_], text)
    elseif what == 'drop' then
        put(key[table_], text, false)
    else
        add(key[table_], prefixed(field) .. struct.pack('>I8', mint()) .. text)
    end
end

local answers = {}
for n, line in ipairs(cmsgpack.unpack(ARGV[1])) do
    local hash, field, digest, number, more = unpack(line)
    local stored = redis.call('HGET', key[hash], field)
    answers[n] = stored and redis.sha1hex(stored) == digest or false
    if answers[n] then
        put(key[hash], field, number > 0 and ARGV[number + 1])
        for _, each in ipairs(more) do
            go_along(field, unpack(each))
        end
    end
end
flush()
return reply(answers)
