-- uses: by_hand, reply
-- ARGV: workflow, 1 if its callbacks are cancelled too. Answers {how many were unfinished, heads of lanes, finished}, or
-- false if there is no such workflow.
if redis.call('HEXISTS', key.workflows, ARGV[1]) == 0 then
    return reply(false)
end
local count = 0
for _, id in ipairs(members_of(ARGV[1])) do
    local head = heads[id]
    if head and (ARGV[2] == '1' or not head[CALLBACK]) and cancel(head) then
        count = count + 1
    end
end
-- All of them have ended before any end is applied: nothing is released, only to be cancelled next.
release_children()
flush()
return reply({count, heads_of_lanes(gained), finished})
