-- uses: settle, submit, claim, charging, meeting
-- Settles, then submits, then claims, and the tenants' charges: one script, one write to the log. ARGV[1] is the packed
-- request {settles, submits, claims, charges, lengths}; ARGV[2] is the blob of all opaque strings, which lines name by
-- their number; ARGV[3] and ARGV[4] are the node's name and the channel of hints.
local settles, submits, claims, charges, lengths = unpack(cmsgpack.unpack(ARGV[1]))
local opaque = opaque_strings(ARGV[2], lengths)
open_groups(submits, opaque)

local takes = #submits == 0 or has_memory()
go_on_when_full()
local settled = settle_all(settles, opaque)
local submitted = takes and submit_all(submits) or refuse_all(submits)
local granted = claim_all(claims)
charge_all(charges)
return answered(submitted, settled, granted, ARGV[3], ARGV[4])
