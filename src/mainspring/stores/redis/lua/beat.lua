-- uses: reply
-- ARGV: worker, incarnation, its report.
go_on_when_full()
redis.call('HSET', key.workers, ARGV[1], cmsgpack.pack({ARGV[2], now, ARGV[3]}))
return reply({})
