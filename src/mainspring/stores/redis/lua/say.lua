-- uses: telling, reply
-- ARGV: a hint, the channel of hints.
tell(ARGV[1], ARGV[2])
return reply(true)
