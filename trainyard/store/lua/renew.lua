-- Renew the lease of an attempt. ARGV: id, attempt, lease in ms, energy that it has used so far in mJ
-- ('' = nothing new): what it is lost with is known up to here.
-- Returns {1, status, 'cancel' field or '', 1 if this attempt is to be put back, else 0, why it is to make
-- way or ''}, or {0, status, '', 0, ''} if the attempt lost the job.
-- One step, so that a lease is not renewed that was given to another attempt in between.
local id = ARGV[1]
local status, attempt, cancel, put_back, make_way =
  unpack(redis.call('HMGET', key('job', id), 'status', 'attempt', 'cancel', 'put_back', 'make_way'))
if attempt ~= ARGV[2] or not redis.call('ZSCORE', OCCUPYING, id) then
  return {0, status or '', '', 0, ''}
end
if ARGV[4] ~= '' then redis.call('HSET', key('job', id), 'attempt_mj', ARGV[4]) end
redis.call('ZADD', OCCUPYING, now_ms() + tonumber(ARGV[3]), id)
local asked, why = string.match(make_way or '', '^(%d+) (.*)$')
return {1, status, cancel or '', put_back == attempt and 1 or 0, asked == attempt and why or ''}
