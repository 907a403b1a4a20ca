-- Give a job back. One script, so that an event that comes at the same moment finds the job either
-- held, and is seen here, or free, and wakes a sender.
-- ARGV: id, holder, fields of the delivery hash and of the missing routes that changed (JSON), due in ms
-- from now ('' = nothing waits), the entry up to which all was seen ('' = no matter).
-- Returns 1 if the job is due at once, 0 if later or not at all, -1 if another sender has it.
local id, holder, now = ARGV[1], ARGV[2], now_ms()
local delivery = key('delivery', id)
if redis.call('HGET', delivery, 'holder') ~= holder then return -1 end
set_fields(delivery, ARGV[3])
set_fields(MISSING_ROUTES, ARGV[4])
local due = ARGV[5] ~= '' and now + tonumber(ARGV[5])
local unseen = ARGV[6] ~= '' and redis.call('XRANGE', key('events', id), '(' .. ARGV[6], '+', 'COUNT', 1)
if (unseen and #unseen > 0) or redis.call('HEXISTS', delivery, 'asked') == 1 then due = now end
if due then
  redis.call('ZADD', UNDELIVERED, 'XX', due, id)
else
  redis.call('ZREM', UNDELIVERED, id)
  if redis.call('EXISTS', key('job', id)) == 0 then  -- a refused request: it was never a job
    redis.call('DEL', key('events', id), key('status-index', id), key('token', id), delivery,
      key('delivery-lock', id), key('again', id))
    return 0
  end
  redis.call('HSET', delivery, 'delivered_at', now)
end
redis.call('HDEL', delivery, 'holder')
redis.call('DEL', key('delivery-lock', id))
return due and due <= now and 1 or 0
