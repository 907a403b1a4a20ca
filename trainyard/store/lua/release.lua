-- Let those held jobs wait for their turn whose time has come and whose awaited jobs have completed. Of each other job that is held the
-- awaited ones that have completed are forgotten. Returns {ids that were released,
-- {id, attempt, the job that it awaits in vain, its state ('' = removed)} of each other that never will be}.
local now, released, in_vain = now_ms(), {}, {}
for _, id in ipairs(redis.call('ZRANGE', HELD, 0, -1)) do
  local job, left, hopeless = key('job', id), {}, nil
  for awaited in awaited_by(job) do
    local status = redis.call('HGET', key('job', awaited), 'status') or ''
    if status ~= 'completed' then table.insert(left, awaited) end
    if status == '' or ENDED[status] and status ~= 'completed' then hopeless = hopeless or {awaited, status} end
  end
  set_awaited(job, left)
  if hopeless then
    table.insert(in_vain, {id, redis.call('HGET', job, 'attempt'), unpack(hopeless)})
  elseif #left == 0 and (tonumber(redis.call('HGET', job, 'not_before') or '') or 0) <= now then
    local origin = redis.call('HGET', job, 'origin') or ''
    local home, host = unpack(redis.call('HMGET', key('job', origin), 'home', 'home_host'))
    if home then redis.call('HSET', job, 'home', home, 'home_host', host or '') end  -- where it ended that was awaited
    redis.call('HSET', job, 'held', '', 'not_before', '', 'queued_at', now)
    wait_for_turn(id)
    table.insert(released, id)
  end
end
return {released, in_vain}
