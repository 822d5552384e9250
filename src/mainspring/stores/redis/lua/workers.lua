-- uses: members, reply
-- Answers as members.lua has it.
return reply(workers())
