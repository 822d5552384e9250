-- uses: settle, claim, charging, meeting
-- An exchange without submits: what a worker asks for.
local settles, _, claims, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))

go_on_when_full()
local settled = settle_all(settles, opaque_strings(ARGV[2], lengths))
local granted = claim_all(claims)
charge_all(charges)
return answered({}, settled, granted, ARGV[3], ARGV[4])
