-- Every key of a namespace, in the order of KEYS. The caller reads the order from this table, so that a
-- script never makes up a key: all of them carry the namespace's hash tag, and so share one slot.
local key = {
    meta = KEYS[1],           -- hash: `minted`, the last number given out
    heads = KEYS[2],          -- hash: task -> its head, packed (record.lua)
    bodies = KEYS[3],         -- hash: task -> what a submit says once: opaque
    ends = KEYS[4],           -- hash: task -> result and error of its last run: opaque
    attempts = KEYS[5],       -- hash: task -> the runs that did not end it well: opaque
    parents = KEYS[6],        -- hash: task -> what it depends on, packed
    ready = KEYS[7],          -- sorted by name: lane, place in line, task
    due = KEYS[8],            -- sorted set: scheduled tasks by their time
    held = KEYS[9],           -- sorted by name: incarnation, claim_seq, task
    lanes = KEYS[10],         -- hash: number -> lane, as JSON
    lane_ids = KEYS[11],      -- hash: lane, as JSON -> number
    rules = KEYS[12],         -- hash: name -> max_running, rate, interval_us, burst, max_waiting, as JSON
    paused = KEYS[13],        -- hash: queue -> by whom
    running = KEYS[14],       -- hash: name -> running tasks
    arrivals = KEYS[15],      -- hash: name -> the rate's next arrival
    counts = KEYS[16],        -- hash: `state:queue` -> tasks
    claimed = KEYS[17],       -- hash: incarnation -> the last claim that granted something
    idempotency = KEYS[18],   -- hash: principal and key -> digest, end, tasks
    expiring = KEYS[19],      -- sorted set: idempotency keys by their end
    uniques = KEYS[20],       -- sorted by name: digest, order of arrival, task
    edges = KEYS[21],         -- sorted by name: parent, child; only edges that are open
    unresolved = KEYS[22],    -- set: final parents with children left to `resolve`
    shares = KEYS[23],        -- hash: tenant -> weight, virtual time
    term = KEYS[24],          -- hash: number, expires_us
}
