-- Admit a job once, counting first: one step, so that no two requests take the last place or the
-- same id. ARGV: id, digest, request, token ('' if no backend is told), fields (JSON), slots,
-- max queued ('' = no limit), priority, the data set's URL if it holds a secret. Returns {'created'|'same'|'taken'|'full', attempt}.
local id, digest = ARGV[1], ARGV[2]
local job = key('job', id)
local function keep_secrets()
  if ARGV[4] ~= '' then redis.call('SET', key('token', id), ARGV[4]) end
  if ARGV[9] ~= '' then redis.call('SET', key('dataset-url', id), ARGV[9]) end
end
local known = redis.call('HGET', job, 'digest')
if known then
  if known == digest then keep_secrets() end  -- they may be new ones
  return {known == digest and 'same' or 'taken', redis.call('HGET', job, 'attempt')}
end
if ARGV[7] ~= '' then
  local busy = redis.call('ZCARD', WAITING) + redis.call('ZCARD', OCCUPYING)
  if busy >= tonumber(ARGV[6]) + tonumber(ARGV[7]) then return {'full', '0'} end
end
local now = now_ms()
for field, value in pairs(cjson.decode(ARGV[5])) do redis.call('HSET', job, field, value) end
redis.call('HSET', job, 'job_id', id, 'digest', digest, 'status', 'queued', 'attempt', 1,
  'restarts', 0, 'put_backs', 0, 'pauses', 0, 'created_at', now, 'queued_at', now, 'updated_at', now)
redis.call('SET', key('request', id), ARGV[3])
keep_secrets()
redis.call('ZADD', JOBS, now, id)
local order = redis.call('INCR', ORDER)
redis.call('HSET', job, 'priority', ARGV[8], 'order', order)
redis.call('ZADD', WAITING, wait_score(ARGV[8], order), id)
return {'created', '1'}
