-- uses: reply
-- Dead letters by what killed them. ARGV: how many groups; size and fingerprint of the last group of the page before,
-- if there was one. Answers {groups, whether there are more}; a group: {fingerprint, size, first end, last end, view}.
-- Writes nothing.
local limit, size, fingerprint = tonumber(ARGV[1]), ARGV[2], ARGV[3]

-- Among groups of one size those of higher numbers follow.
local function rank_behind()
    local low = redis.call('ZCOUNT', key.groups, '-inf', '(-' .. size)
    local high = redis.call('ZCOUNT', key.groups, '-inf', '-' .. size)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if redis.call('ZRANGE', key.groups, middle, middle)[1] > fingerprint then
            high = middle
        else
            low = middle + 1
        end
    end
    return low
end

local function letter(command, from, to)
    local found = redis.call(command, key.letters, from, to, 'LIMIT', 0, 1)[1]
    return found and struct.unpack('>I8', found, 17), found and string.sub(found, 33)
end

local first = size and rank_behind() or 0
local ranked, groups = redis.call('ZRANGE', key.groups, first, first + limit, 'WITHSCORES'), {}
for n = 1, math.min(#ranked, 2 * limit), 2 do
    local from, to = '[' .. ranked[n], '(' .. ranked[n] .. '\255'
    local first_us = letter('ZRANGEBYLEX', from, to)
    local last_us, sample = letter('ZREVRANGEBYLEX', to, from)
    if sample and head_of(sample) then
        groups[#groups + 1] = {ranked[n], -tonumber(ranked[n + 1]), first_us, last_us, view(sample)}
    end
end
return reply({groups, #ranked > 2 * limit})
