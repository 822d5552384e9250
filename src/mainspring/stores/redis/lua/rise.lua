-- uses: reply
-- ARGV[1]: a number up to which others were minted elsewhere.
minted = math.max(minted, tonumber(ARGV[1]))
flush()
return reply({})
