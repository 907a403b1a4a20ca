-- Take a job for sending. ARGV: id, nonce, lock in ms, woken ('1' where a new event woke us).
-- Returns {now, holder, token or '', {field, value, ...} of the delivery hash, id of the newest
-- status}, or nothing where
-- the job is not due or another sender has it. `holder` is the fencing number and the nonce: the
-- nonce keeps two holders apart even where Redis lost the newest numbers in a crash.
local id, now = ARGV[1], now_ms()
local delivery, lock = key('delivery', id), key('delivery-lock', id)
local due = redis.call('ZSCORE', UNDELIVERED, id)
if not due then return false end
if tonumber(due) > now then
  -- 'soft': one kind of its messages waits; a new event may go by it.
  if ARGV[4] ~= '1' or redis.call('HGET', delivery, 'soft') ~= '1' then return false end
end
local holder = redis.call('HINCRBY', delivery, 'fence', 1) .. ':' .. ARGV[2]
if not redis.call('SET', lock, holder, 'NX', 'PX', ARGV[3]) then return false end
redis.call('HSET', delivery, 'holder', holder)
redis.call('HDEL', delivery, 'soft')
-- While it is held it is not due; a sender that dies leaves it due when its lock has run out.
redis.call('ZADD', UNDELIVERED, 'XX', now + tonumber(ARGV[3]), id)
return {now, holder, redis.call('GET', key('token', id)) or '', redis.call('HGETALL', delivery),
  redis.call('LINDEX', key('status-index', id), -1) or '0-0'}
