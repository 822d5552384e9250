-- uses: forgetting, reply
-- ARGV[1]: {limit, cursor, how long tasks of each final state are kept or false}. Answers {count, cursor or false,
-- whether there are long logs}.
local FORGOTTEN_AFTER = 2592000000000  -- claimants that have held nothing for a month
local limit, cursor, kept = unpack(cmsgpack.unpack(ARGV[1]))

local function forget_expired(set, hash)
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, CHUNK)) do
        put(hash, name, false)
        remove(set, name)
    end
end

local function forget_claimants()
    local old = redis.call('ZRANGEBYSCORE', key.claimants, '-inf', now - FORGOTTEN_AFTER, 'LIMIT', 0, CHUNK)
    for _, name in ipairs(old) do
        if not fetch(key.holding, name) then
            put(key.claimed, name, false)
            remove(key.claimants, name)
        end
    end
end

local function is_over(head)
    local kept_us = head and kept[head[STATE]]
    return kept_us and head[FINISHED] and head[FINISHED] + kept_us <= now
end

go_on_when_full()
forget_expired(key.expiring, key.idempotency)
forget_claimants()
redis.call('ZREMRANGEBYSCORE', key.arrivals, '-inf', now)
local found = redis.call('ZRANGEBYLEX', key.tasks, cursor == '' and '-' or '[' .. cursor, '+', 'LIMIT', 0, limit + 1)
local rest, count = found[limit + 1], 0
found[limit + 1] = nil
load(found)
for _, id in ipairs(found) do
    local head = heads[id]
    local whole = is_over(head) and not is_needed(id)
    if whole and (not head[WORKFLOW] or belonging.is_past(head[WORKFLOW], kept)) then
        forget(head)
        count = count + 1
    end
end
flush()
return reply({count, rest or false, redis.call('EXISTS', key.long_logs) == 1})
