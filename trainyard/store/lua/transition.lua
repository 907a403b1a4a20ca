-- One guarded change of state. ARGV: id, expected attempt ('' = any), allowed states
-- (',a,b,'), target state, fields to set (JSON object), events to append before the status
-- (JSON array of [kind, data, lines]), status event data (JSON, '' = none), counter to
-- increment ('' = none), lease in ms, log lines kept, until when (Redis's clock in ms) the attempt may be
-- judged by its lease ('' = no matter): it must have run out, and the judgement be no older.
-- Returns {1, target, attempt} or {0, state as it is, attempt}, {-1} if there is no such job.
-- One step, so that of two who want different things of a job one is refused.
local id, target, now = ARGV[1], ARGV[4], now_ms()
local job = key('job', id)
local status, attempt = unpack(redis.call('HMGET', job, 'status', 'attempt'))
if not status then return {-1} end
if ARGV[2] ~= '' and ARGV[2] ~= attempt then return {0, status, attempt} end
if not string.find(ARGV[3], ',' .. status .. ',', 1, true) then return {0, status, attempt} end
local last_held  -- of an attempt whose lease ran out: when it was renewed last
if ARGV[11] ~= '' then
  local ends = tonumber(redis.call('ZSCORE', OCCUPYING, id) or math.huge)
  if ends > now or now > tonumber(ARGV[11]) then return {0, status, attempt} end
  last_held = ends - tonumber(redis.call('HGET', job, 'lease_ms') or ARGV[9])
end

local fields = cjson.decode(ARGV[5])
if target == 'running' and fields.slot_process ~= '' then  -- one worker a slot, one job a worker
  local lease = redis.call('HGET', SLOT_LEASES, fields.slot)
  if lease and cjson.decode(lease).worker ~= fields.slot_process then return {0, status, attempt} end
  for _, name in ipairs({fields.slot, fields.home_host}) do
    if redis.call('SISMEMBER', DRAINS, name) == 1 then return {0, status, attempt} end
  end
  for _, other in ipairs(redis.call('ZRANGE', OCCUPYING, 0, -1)) do
    local there, claimed = unpack(redis.call('HMGET', key('job', other), 'slot_process', 'claim'))
    if claimed and there == fields.slot_process then return {0, status, attempt} end
  end
end
if target == 'running' then  -- elsewhere it would start from nothing, and nobody has asked for that
  local home, origin, kept, chosen, afresh =
    unpack(redis.call('HMGET', job, 'home', 'origin', 'checkpoint', 'resume_from', 'from_start'))
  local bound = (origin or '') ~= '' or (kept or '') .. (chosen or '') ~= '' and (afresh or '') == ''
  if bound and (home or '') ~= '' and home ~= fields.home then return {0, status, attempt} end
end
redis.call('HDEL', job, 'made_way', 'slips_before')
redis.call(ARGV[8] == 'ways_made' and 'SADD' or 'SREM', MADE_WAY, id)
redis.call('SREM', SLIP_INS, id)
for field, value in pairs(fields) do redis.call('HSET', job, field, value) end
redis.call('ZREM', HOST_WAITS, id)
redis.call('ZREM', HELD, id)
local kinds = {}
for _, event in ipairs(cjson.decode(ARGV[6])) do
  kinds[event[1]] = true
  append_event(id, attempt, event[1], event[2], tonumber(event[3]), tonumber(ARGV[10]))
  -- The next supervisor writes these lines into train.log: we cannot.
  local owed = cjson.decode(redis.call('HGET', job, 'owed_lines') or '[]')
  for _, line in ipairs(cjson.decode(event[2])) do table.insert(owed, line) end
  redis.call('HSET', job, 'owed_lines', cjson.encode(owed))
end
redis.call('HSET', job, 'status', target, 'updated_at', now)
if target == 'pausing' or target == 'cancelling' then redis.call('PUBLISH', ASKED, id) end
if OCCUPIES[status] and not OCCUPIES[target] then  -- time in a slot; waiting is none of it
  local since = tonumber(redis.call('HGET', job, 'running_since'))
  if since then account(job, since, math.max(since, last_held or now)) end
  redis.call('HDEL', job, 'running_since')
end
if ARGV[8] ~= '' then redis.call('HINCRBY', job, ARGV[8], 1) end
if ARGV[8] == 'restarts' then count('restarts') end
if ARGV[8] == 'ways_made' and (redis.call('HGET', job, 'way_for') or '') ~= '' then
  local times = within_an_hour(redis.call('HGET', job, 'slipped_at'), now)
  table.insert(times, now)
  redis.call('HSET', job, 'slipped_at', cjson.encode(times))
end
if ENDED[target] then count('ended:' .. target) end
if target == 'failed' then count('failed:' .. (cjson.decode(fields.error or '{}').kind or 'internal')) end
if not OCCUPIES[target] then
  if redis.call('HDEL', job, 'claim') == 1 then
    observe('run', redis.call('HGET', job, 'attempt_started_at'), now)
  end
end

if REPORTED[target] and ARGV[7] ~= '' then
  append_event(id, attempt, 'status', ARGV[7], 0, 0)
  kinds.status = true
end
wake_sender(id, now, kinds)

if target == 'running' then
  observe('wait', redis.call('HGET', job, 'queued_at'), now)
  redis.call('ZREM', WAITING, id)
  redis.call('ZADD', OCCUPYING, now + tonumber(ARGV[9]), id)
  redis.call('HSETNX', job, 'started_at', now)
  redis.call('HSET', job, 'attempt_started_at', now, 'running_since', now, 'lease_ms', ARGV[9])
  redis.call('HDEL', job, 'batch', 'attempt_mj')
elseif target == 'queued' then
  redis.call('ZREM', OCCUPYING, id)
  if not OCCUPIES[status] then  -- it did not come from a slot: behind those that wait
    redis.call('HSET', job, 'order', redis.call('INCR', ORDER))
  end
  redis.call('ZREM', WAITING, id)
  wait_for_turn(id)
  redis.call('HSET', job, 'queued_at', now)
  redis.call('HDEL', job, 'completed_at', 'error')
  attempt = redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HDEL', job, 'slot', 'worker', 'claim', 'cancel')
  -- After a pause or a stop it goes on from where it stood; after a crash from earlier.
  local crashed = ARGV[8] == 'restarts' or ARGV[8] == 'slot_losses'
  if crashed or ENDED[status] then
    local kept, known = unpack(redis.call('HMGET', job, 'checkpoint', 'progress'))
    local step, progress = tonumber(string.match(kept or '', '%d+$')), cjson.decode(known or '{}')
    if step and step > 0 and step <= (progress.step or 0) then
      progress.epoch = (progress.epoch or 0) * step / progress.step
      progress.step, progress.remaining_seconds = step, nil
      redis.call('HSET', job, 'progress', cjson.encode(progress))
    else
      redis.call('HDEL', job, 'progress')
    end
  end
elseif target == 'cancelling' and not OCCUPIES[status] then
  redis.call('ZREM', WAITING, id)
  redis.call('ZADD', OCCUPYING, now + tonumber(ARGV[9]), id)  -- its parked process has so long to end
elseif not OCCUPIES[target] then
  redis.call('ZREM', WAITING, id)
  redis.call('ZREM', OCCUPYING, id)
  if ENDED[target] then
    redis.call('HSET', job, 'completed_at', now)
    if redis.call('EXISTS', WEBHOOK_WANTED) == 1 then
      redis.call('ZADD', ENDS, now / 1000, attempt .. ' ' .. id)
    end
  end
  if target == 'completed' then
    redis.call('LPUSH', DURATIONS, redis.call('HGET', job, 'ran_ms'))
    redis.call('LTRIM', DURATIONS, 0, 19)
  end
end
return {1, target, tostring(attempt)}
