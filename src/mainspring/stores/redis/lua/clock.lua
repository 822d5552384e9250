-- The store's clock: the server's own.
local function now_us()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end
