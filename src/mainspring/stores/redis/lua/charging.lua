-- uses: limits
-- Tenants' charges: {tenant, cost_us, floor_us}.
local function charge_all(charges)
    for _, charge in ipairs(charges) do
        local share = share_of(charge[1])
        share[2] = math.max(share[2], charge[3]) + charge[2] / share[1]
        put(key.shares, charge[1], cmsgpack.pack(share))
    end
end
