-- Put the heads of lanes in place of what is there, unless a lane was forgotten meanwhile: who read the heads may
-- then have missed one. Of each lane KEYS holds its mark and its list.
-- ARGV: how long a list is kept in ms, then of each lane the mark as it was, how many heads, and the heads.
local at = 2
for i = 1, #KEYS, 2 do
    local mark, count = ARGV[at], tonumber(ARGV[at + 1])
    if (redis.call('GET', KEYS[i]) or '') == mark then
        redis.call('DEL', KEYS[i + 1])
        redis.call('RPUSH', KEYS[i + 1], unpack(ARGV, at + 2, at + 1 + count))
        redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
    end
    at = at + 2 + count
end
return 1
