-- uses: reply
-- ARGV[1]: the copy that has come to its end.
if redis.call('HGET', key.meta, 'loading') == ARGV[1] then
    redis.call('HDEL', key.meta, 'loading')
end
return reply({})
