-- uses: record
-- The run's time counts from now; the earlier of timeout and deadline ends it.
local function start_run(head)
    head[STARTED] = now
    local ends = head[TIMEOUT] and now + head[TIMEOUT]
    if head[DEADLINE] and (not ends or tonumber(head[DEADLINE]) < ends) then
        ends = head[DEADLINE]
    end
    head[TIMEOUT_AT] = ends
end
