-- uses: record
-- {worker, report, how long ago} of each worker.
local function workers()
    local flat, found = redis.call('HGETALL', key.workers), {}
    for n = 1, #flat, 2 do
        local _, beaten_us, report = unpack(opened(flat[n + 1]) or {})
        found[#found + 1] = {flat[n], report or '', now - (tonumber(beaten_us) or now)}
    end
    return found
end
