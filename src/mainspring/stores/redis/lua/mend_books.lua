-- uses: counting
-- Numbers are counted anew, all of them at once: nobody moves a task meanwhile. ARGV[1]: lines {`count`, `state:queue`},
-- {`running`, name}, {`lane`, number}. Answers for each {what was booked, what is there} or false if it was right.
local lanes_here = lanes_counted(COUNTED_WHOLE, COUNTED_WHOLE)
local counted = counted_by_index(lanes_here)
local running, uses = running_counted(counted, COUNTED_WHOLE), {}
for _, told in ipairs(lanes_here) do
    uses[told[1]] = told
end

local function put_number(hash, field, there)
    local booked = tonumber(redis.call('HGET', hash, field) or 0) or 0
    if booked == there then
        return false
    end
    put(hash, field, there ~= 0 and there)
    return {booked, there}
end

local function put_lane(number)
    local told = uses[number]
    local lane = told and told[4] and lane_of(tonumber(number))
    local answer = put_number(key.lane_uses, number, told and told[3] or 0)
    if lane and told[3] == 0 then
        put(key.lanes, number, false)
        put(key.lane_ids, lane.text, false)
    elseif lane and not told[5] then
        put(key.lane_ids, lane.text, number)
        return answer or {0, 1}
    end
    return answer
end

local answers = {}
for n, line in ipairs(cmsgpack.unpack(ARGV[1])) do
    if line[1] == 'count' then
        answers[n] = put_number(key.counts, line[2], counted[line[2]] or 0)
    elseif line[1] == 'running' then
        answers[n] = put_number(key.running, line[2], running[line[2]] or 0)
    else
        answers[n] = put_lane(line[2])
    end
end
flush()
return reply(answers)
