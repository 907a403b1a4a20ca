-- Jobs whose lease has run out. ARGV: lease in ms. Returns {now, ids}.
-- A lease that ends later than any can, since the clock was set back, ends one whole lease from now.
local now, own = now_ms(), tonumber(ARGV[1])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OCCUPYING, '(' .. now + own, '+inf')) do
  local given = tonumber(redis.call('HGET', key('job', id), 'lease_ms') or own)
  local latest = now + math.max(own, given)
  if tonumber(redis.call('ZSCORE', OCCUPYING, id)) > latest then
    redis.call('ZADD', OCCUPYING, 'XX', latest, id)
  end
end
return {now, redis.call('ZRANGEBYSCORE', OCCUPYING, '-inf', now)}
