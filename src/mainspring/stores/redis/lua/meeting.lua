-- uses: moves, reply, telling
-- What all shapes of an exchange end with. Lanes that have gained tasks are told here, and not by a call of its own, so
-- that other nodes know as soon as can be.
local LANES_TOLD = 180

local function told_of(heads)
    local places = {}
    for n, head in ipairs(heads) do
        places[n] = string.format('%.0f:%.0f', head[1], head[2])
    end
    return #heads > LANES_TOLD and '* ' or ' ' .. table.concat(places, ',')
end

-- {submits, settles, claims, ready, usage, whether tasks have ended}; once all is written.
local function told_of_all(submitted, settled, granted, name, channel)
    local ready = heads_of_lanes(gained)
    if #ready > 0 then
        tell(name .. ' ' .. told_of(ready), channel)
    end
    return reply({submitted, settled, granted, ready, limited_usage(), #finished > 0})
end

local function answered(submitted, settled, granted, name, channel)
    flush()
    return told_of_all(submitted, settled, granted, name, channel)
end
