-- What people and decisions do to a task: cancelling it, and letting it start over.
local function fence(head)
    head[TOKEN] = math.max(head[TOKEN] + 1, mint())
end

local function kill(head)
    if head[STATE] > RUNNING then
        return false
    end
    head[CANCEL_AT] = head[CANCEL_AT] or now
    fence(head)
    move(head, CANCELLED)
    return true
end

local function cancel(head)
    if head[STATE] ~= RUNNING then
        return kill(head)
    end
    if not head[CANCEL_AT] then
        head[CANCEL_AT] = now
        touch(head)
    end
    return true
end

-- Makes a final task as if it had never run. Attempts stay on record; result and error do not.
local function start_over(head)
    head[ATTEMPT], head[RETRIES], head[LOSSES], head[SNOOZES] = 0, 0, 0, 0
    head[CANCEL_AT], head[STARTED] = false, false
    if head[DEADLINE] and head[DEADLINE] < now then
        head[DEADLINE] = false
    end
    redis.call('HDEL', key.ends, head.id)
    fence(head)
end
