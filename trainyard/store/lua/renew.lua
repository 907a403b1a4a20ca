-- Renew the lease of an attempt. ARGV: id, attempt, lease in ms.
-- Returns {1, status, 'cancel' field or ''}, or {0, status, ''} if the attempt lost the job.
-- One step, so that a lease is not renewed that was given to another attempt in between.
local id = ARGV[1]
local status, attempt, cancel = unpack(redis.call('HMGET', key('job', id), 'status', 'attempt', 'cancel'))
if attempt ~= ARGV[2] or not redis.call('ZSCORE', OCCUPYING, id) then
  return {0, status or '', ''}
end
redis.call('ZADD', OCCUPYING, now_ms() + tonumber(ARGV[3]), id)
return {1, status, cancel or ''}
