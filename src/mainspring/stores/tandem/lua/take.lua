-- Forget lanes, then take heads of lanes. Of each lane KEYS holds its mark and its list, first those to forget.
-- ARGV: how many to forget, how long a mark is kept in ms, then how many heads to take of each other lane.
-- Answers the mark and the heads of each of these.
local forgotten, answer = tonumber(ARGV[1]), {}
for i = 1, #KEYS, 2 do
    local lane = (i + 1) / 2
    if lane <= forgotten then
        redis.call('INCR', KEYS[i])
        redis.call('PEXPIRE', KEYS[i], ARGV[2])
        redis.call('DEL', KEYS[i + 1])
    else
        local mark = redis.call('GET', KEYS[i]) or ''
        answer[#answer + 1] = {mark, redis.call('LPOP', KEYS[i + 1], ARGV[2 + lane - forgotten]) or {}}
    end
end
return answer
