-- Forget a job that ended long ago, unless it was started again meanwhile. ARGV: id, cutoff (ms), '1' to change nothing. Returns 1,
-- or 0 if it has not ended, ended later, or the backend got its last message later or not yet: its token is still needed. A backend
-- that answers 401 or 404 and has taken nothing of it never knew it.
local id, cutoff, dry = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local status, ended_at = unpack(redis.call('HMGET', key('job', id), 'status', 'completed_at'))
if not ENDED[status] or tonumber(ended_at or 0) > cutoff then return 0 end
local state = cjson.decode(redis.call('HGET', key('delivery', id), 'state') or '{}')
local unknown = not state.heard and state.status and state.status.refusal == 'refused'
if redis.call('ZSCORE', UNDELIVERED, id) and not unknown then return 0 end
if tonumber(redis.call('HGET', key('delivery', id), 'delivered_at') or 0) > cutoff then return 0 end
if dry then return 1 end
for _, other in ipairs(redis.call('SMEMBERS', key('followers', id))) do  -- of one that is gone nobody knows that it had completed
  local left = {}
  for awaited in awaited_by(key('job', other)) do
    if awaited ~= id or status ~= 'completed' then table.insert(left, awaited) end
  end
  if redis.call('EXISTS', key('job', other)) == 1 then set_awaited(key('job', other), left) end
end
local group = redis.call('HGET', key('job', id), 'group') or ''
if group ~= '' then redis.call('ZREM', key('group', group), id) end
for kind in pairs(PER_JOB) do redis.call('DEL', key(kind, id)) end
redis.call('ZREM', JOBS, id)
redis.call('ZREM', UNDELIVERED, id)
return 1
