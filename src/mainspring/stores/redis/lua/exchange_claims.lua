-- uses: claim, charging, meeting
-- without: belonging.died, belonging.replayed, finish, depend, parents_of
-- An exchange of claims and charges.
local _, _, claims, charges = unpack(cmsgpack.unpack(ARGV[1]))

go_on_when_full()
local granted = claim_all(claims)
charge_all(charges)
return answered({}, {}, granted, ARGV[3], ARGV[4])
