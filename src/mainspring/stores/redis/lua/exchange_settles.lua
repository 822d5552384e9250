-- uses: settle, charging, meeting
-- An exchange of settles and charges.
local settles, _, _, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))

go_on_when_full()
local settled = settle_all(settles, opaque_strings(ARGV[2], lengths))
charge_all(charges)
return answered({}, settled, {}, ARGV[3], ARGV[4])
