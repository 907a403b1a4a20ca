-- Jobs that are due, and how long until the next one is. One script, so that both are by one clock.
-- Who is to send them is woken, once; those that nobody has taken for a while are for who asks.
-- ARGV: how many at most, that while in ms, when this was asked last.
-- Returns {now, ms until the next one is due ('' = none waits), ids}.
local limit, untaken_ms, last, now = ARGV[1], tonumber(ARGV[2]), ARGV[3], now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNDELIVERED, '(' .. now + DELAY_MAX, '+inf')) do
  redis.call('ZADD', UNDELIVERED, now, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNDELIVERED, '(' .. last, now, 'LIMIT', 0, limit)) do
  wake(id)
end
local left = redis.call('ZRANGEBYSCORE', UNDELIVERED, '-inf', now - untaken_ms, 'LIMIT', 0, limit)
local later = redis.call('ZRANGEBYSCORE', UNDELIVERED, '(' .. now, '+inf', 'WITHSCORES',
  'LIMIT', 0, 1)
return {now, later[2] and tostring(tonumber(later[2]) - now) or '', left}
