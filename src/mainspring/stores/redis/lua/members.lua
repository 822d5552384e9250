-- uses: record
-- {worker, report, how long ago} of each worker.
local function workers()
    local flat, found = redis.call('HGETALL', key.workers), {}
    for n = 1, #flat, 2 do
        local _, beaten_us, report = unpack(cmsgpack.unpack(flat[n + 1]))
        found[#found + 1] = {flat[n], report, now - beaten_us}
    end
    return found
end
