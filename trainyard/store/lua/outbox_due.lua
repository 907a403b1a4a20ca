-- Jobs that are due, and how long until the next one is. One script, so that both are by one clock.
-- ARGV: how many at most. Returns {ms until the next one is due ('' = none waits), due ids}.
local now = now_ms()
for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNDELIVERED, '(' .. now + DELAY_MAX, '+inf')) do
  redis.call('ZADD', UNDELIVERED, now, id)
end
local due = redis.call('ZRANGEBYSCORE', UNDELIVERED, '-inf', now, 'LIMIT', 0, ARGV[1])
local later = redis.call('ZRANGEBYSCORE', UNDELIVERED, '(' .. now, '+inf', 'WITHSCORES',
  'LIMIT', 0, 1)
return {later[2] and tostring(tonumber(later[2]) - now) or '', due}
