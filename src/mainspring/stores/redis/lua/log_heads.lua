-- uses: reply
-- Where logs stand. ARGV[1]: tasks. Answers for each the number of its log's head. Writes nothing.
return reply(parts_of(key.log_heads, cmsgpack.unpack(ARGV[1])))
