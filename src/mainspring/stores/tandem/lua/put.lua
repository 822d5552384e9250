-- Put heads of lanes behind the last that is there, or in place of all, unless a lane was forgotten meanwhile: who read
-- the heads may then have missed one. Of each lane KEYS holds its mark, its list, and who fills it.
-- ARGV: how long a new list is kept in ms, then of each lane the mark and the last head as they were (none: in place
-- of all), how many heads, and the heads.
local at = 2
for i = 1, #KEYS, 3 do
    local mark, last, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
    local same = (redis.call('GET', KEYS[i]) or '') == mark
    if same and last == '' then
        redis.call('DEL', KEYS[i + 1])
        redis.call('RPUSH', KEYS[i + 1], unpack(ARGV, at + 3, at + 2 + count))
        redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
    elseif same and redis.call('LINDEX', KEYS[i + 1], -1) == last then
        redis.call('RPUSH', KEYS[i + 1], unpack(ARGV, at + 3, at + 2 + count))
    end
    redis.call('DEL', KEYS[i + 2])
    at = at + 3 + count
end
return 1
