-- Admit a job, or all jobs of a group, once, counting first: one step, so that no two requests take the last place or the
-- same id, and of a group all come or none. ARGV: slots, max queued ('' = no limit), group ('' = none), then of each job: id, digest,
-- request, token ('' if no backend is told), fields (JSON), priority, the data set's URL if it holds a secret.
-- Returns {'created'|'same'|'taken'|'full', attempt, place of the first job in the queue if it was created and waits}.
local group = ARGV[3]
local function each_job(act)
  for at = 4, #ARGV, 7 do act(unpack(ARGV, at, at + 6)) end
end
local function keep_secrets(id, token, url)
  if token ~= '' then redis.call('SET', key('token', id), token) end
  if url ~= '' then redis.call('SET', key('dataset-url', id), url) end
end

local jobs, known, same, attempt = 0, 0, true, '1'
each_job(function(id, digest)
  jobs = jobs + 1
  if redis.call('EXISTS', key('group', id)) == 1 then known, same = known + 1, false end
  local there = redis.call('HGET', key('job', id), 'digest')
  if there then
    known, same, attempt = known + 1, same and there == digest, redis.call('HGET', key('job', id), 'attempt')
  end
end)
if group ~= '' then
  if redis.call('EXISTS', key('job', group)) == 1 then return {'taken', '0'} end
  if (known > 0) ~= (redis.call('EXISTS', key('group', group)) == 1) then return {'taken', '0'} end
end
if known > 0 then
  each_job(function(id, _, _, token, _, _, url)  -- they may be new ones; what was removed since stays so
    if same and redis.call('EXISTS', key('job', id)) == 1 then keep_secrets(id, token, url) end
  end)
  return {same and 'same' or 'taken', attempt}
end
if ARGV[2] ~= '' then
  local busy = redis.call('ZCARD', WAITING) + redis.call('ZCARD', HELD) + redis.call('ZCARD', OCCUPYING)
  if busy + jobs - 1 >= tonumber(ARGV[1]) + tonumber(ARGV[2]) then return {'full', '0'} end
end

local now = now_ms()
each_job(function(id, digest, request, token, fields, priority, url)
  local job, order = key('job', id), redis.call('INCR', ORDER)
  for field, value in pairs(cjson.decode(fields)) do redis.call('HSET', job, field, value) end
  redis.call('HSET', job, 'job_id', id, 'digest', digest, 'status', 'queued', 'attempt', 1,
    'restarts', 0, 'put_backs', 0, 'pauses', 0, 'created_at', now, 'queued_at', now, 'updated_at', now,
    'priority', priority, 'order', order)
  redis.call('SET', key('request', id), request)
  keep_secrets(id, token, url)
  redis.call('ZADD', JOBS, now, id)
  if group ~= '' then redis.call('ZADD', key('group', group), order, id) end
  for awaited in awaited_by(job) do redis.call('SADD', key('followers', awaited), id) end
  wait_for_turn(id)
end)
local place = redis.call('ZRANK', WAITING, ARGV[4])
return {'created', '1', place and place + 1}
