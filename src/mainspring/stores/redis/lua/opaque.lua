-- The strings that a request names by their number; the empty one by 0.
local function opaque_strings(blob, lengths)
    local opaque, from = {[0] = ''}, 1
    for n, length in ipairs(lengths) do
        opaque[n] = string.sub(blob, from, from + length - 1)
        from = from + length
    end
    return opaque
end
