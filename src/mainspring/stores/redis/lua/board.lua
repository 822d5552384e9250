-- uses: boards
-- Answers as boards.lua has it.
return reply(board())
