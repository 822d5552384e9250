-- uses: submit, meeting
-- without: earlier_use, forget_expired_keys, remember_key, unique_match, open_edges, taken_workflow, view, claim_of, usage.start, belonging.died, belonging.moved, belonging.joined, belonging.founded
-- An exchange of nothing but submits, none of which has a key, a unique rule, a workflow or a parent.
local _, groups, _, _, lengths = unpack(cmsgpack.unpack(ARGV[1]))
open_groups(groups, opaque_strings(ARGV[2], lengths))

local takes = has_memory()
if not takes then
    go_on_when_full()
end
return answered(takes and submit_all(groups) or refuse_all(groups), {}, {}, ARGV[3], ARGV[4])
