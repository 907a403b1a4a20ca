-- Give a job back. ARGV: id, holder, due in ms from now ('' = nothing is left to send), the entry
-- beyond which nothing may lie ('' = whatever lies there), soft ('1' or ''), then (field, value)
-- pairs of the delivery hash.
-- Returns 1; 0 where something lies beyond (still held: go on); -1 where another sender has it.
local id, holder = ARGV[1], ARGV[2]
local delivery = key('delivery', id)
if redis.call('HGET', delivery, 'holder') ~= holder then return -1 end
for i = 6, #ARGV, 2 do redis.call('HSET', delivery, ARGV[i], ARGV[i + 1]) end
if ARGV[4] ~= '' then
  local beyond = redis.call('XRANGE', key('events', id), '(' .. ARGV[4], '+', 'COUNT', 1)
  if #beyond > 0 then return 0 end
end
if ARGV[3] == '' then
  redis.call('ZREM', UNDELIVERED, id)
  if redis.call('EXISTS', key('job', id)) == 0 then  -- a refused request: it was never a job
    redis.call('DEL', key('events', id), key('status-index', id), key('token', id), delivery,
      key('delivery-lock', id))
    return 1
  end
  redis.call('HSET', delivery, 'delivered_at', now_ms())
else
  redis.call('ZADD', UNDELIVERED, 'XX', now_ms() + tonumber(ARGV[3]), id)
end
redis.call('HDEL', delivery, 'holder')
if ARGV[5] == '1' then redis.call('HSET', delivery, 'soft', '1') end
redis.call('DEL', key('delivery-lock', id))
return 1
