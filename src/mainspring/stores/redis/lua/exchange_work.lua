-- uses: settle, claim, charging, meeting
-- An exchange without submits: what a worker asks for.
local settles, _, claims, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))
open_settlements(settles, opaque_strings(ARGV[2], lengths))

go_on_when_full()
local settled = settle_all(settles)
local granted = claim_all(claims)
charge_all(charges)
return answered({}, settled, granted, ARGV[3], ARGV[4])
