-- Take a job for sending. One script, so that of two senders one gets it.
-- ARGV: id, nonce, lock in ms. Returns {now, holder, token or '', {field, value, ...} of the delivery
-- hash, id of the newest status, entries to be sent again, its user or '', {route, when last missed,
-- ...}}, or nothing if the job is not due or another sender has it. `holder` is the fencing number and the nonce: the nonce keeps two holders
-- apart even if Redis lost the newest numbers in a crash.
local id, now = ARGV[1], now_ms()
local delivery, lock = key('delivery', id), key('delivery-lock', id)
local due = redis.call('ZSCORE', UNDELIVERED, id)
if not due or tonumber(due) > now then return false end
if redis.call('PTTL', lock) > tonumber(ARGV[3]) then  -- the clock was set back: its holder may live
  redis.call('PEXPIRE', lock, ARGV[3])
end
local holder = redis.call('HINCRBY', delivery, 'fence', 1) .. ':' .. ARGV[2]
if not redis.call('SET', lock, holder, 'NX', 'PX', ARGV[3]) then return false end
redis.call('HSET', delivery, 'holder', holder)
-- A person asked for another try: no lane waits; with the number of a line all is sent again. Only
-- here: the progress is the holder's, who would write the old one over it.
local asked = redis.call('HGET', delivery, 'asked')
if asked then
  redis.call('HDEL', delivery, 'asked', 'status_due', 'metric_due', 'log_due', 'prediction_due')
  if asked ~= 'try' then redis.call('HSET', delivery, 'state', '{"next_line":' .. asked .. '}') end
end
for _, lane in pairs(LANE_OF) do
  local due_field = lane .. '_due'
  local written = redis.call('HGET', delivery, due_field)
  if written and due_at(written, now) ~= tonumber(written) then redis.call('HDEL', delivery, due_field) end
end
-- While it is held it is not due; a sender that dies leaves it due when its lock has run out.
redis.call('ZADD', UNDELIVERED, 'XX', now + tonumber(ARGV[3]), id)
return {now, holder, redis.call('GET', key('token', id)) or '', redis.call('HGETALL', delivery),
  redis.call('LINDEX', key('status-index', id), -1) or '0-0', redis.call('XLEN', key('again', id)),
  redis.call('HGET', key('job', id), 'user_id') or '', redis.call('HGETALL', MISSING_ROUTES)}
