-- Forget lanes, then take heads of lanes. Of each lane KEYS holds its mark, its list, and who fills it; first those to
-- forget. ARGV: how many to forget, how long a mark is kept in ms, how long a filler has, then of each other lane how
-- many heads to take, and below how many left it is to be filled.
-- Answers of each of these lanes its mark, the heads, how many are left, the last of them, and whether to fill it.
local forgotten, answer = tonumber(ARGV[1]), {}
for i = 1, #KEYS, 3 do
    local lane = (i + 2) / 3
    if lane <= forgotten then
        redis.call('INCR', KEYS[i])
        redis.call('PEXPIRE', KEYS[i], ARGV[2])
        redis.call('DEL', KEYS[i + 1])
    else
        local at = 2 + 2 * (lane - forgotten)
        local mark, last, fills = redis.call('GET', KEYS[i]) or '', '', 0
        local heads = redis.call('LPOP', KEYS[i + 1], ARGV[at]) or {}
        local left = redis.call('LLEN', KEYS[i + 1])
        if left > 0 then
            last = redis.call('LINDEX', KEYS[i + 1], -1)
        end
        -- One node at a time looks ahead.
        if left < tonumber(ARGV[at + 1]) and redis.call('SET', KEYS[i + 2], '1', 'NX', 'PX', ARGV[3]) then
            fills = 1
        end
        answer[#answer + 1] = {mark, heads, left, last, fills}
    end
end
return answer
