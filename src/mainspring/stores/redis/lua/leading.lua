-- uses: record
-- Whether term `number` goes on: its holder may write.
local function leads(number)
    local term = redis.call('HMGET', key.term, 'number', 'expires_us')
    return tonumber(term[1] or 0) == number and tonumber(term[2] or 0) > now
end
