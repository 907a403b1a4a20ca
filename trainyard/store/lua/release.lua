-- Let those held jobs wait for their turn whose time has come and whose awaited jobs have completed. Of each other job that is held the
-- awaited ones that have completed are forgotten. Returns {ids that were released,
-- {id, attempt, the job that it awaits in vain, its state ('' = removed)} of each other that never will be}.
local now, released, in_vain, statuses = now_ms(), {}, {}, {}
local function status_of(id)  -- many may await the same one
  statuses[id] = statuses[id] or redis.call('HGET', key('job', id), 'status') or ''
  return statuses[id]
end

for _, id in ipairs(redis.call('ZRANGE', HELD, 0, -1)) do
  local job, left, hopeless = key('job', id), {}, nil
  local state, attempt, due = unpack(redis.call('HMGET', job, 'status', 'attempt', 'not_before'))
  for awaited in awaited_by(job) do
    local status = status_of(awaited)
    if status ~= 'completed' then table.insert(left, awaited) end
    if status == '' or ENDED[status] and status ~= 'completed' then hopeless = hopeless or {awaited, status} end
  end
  if state ~= 'queued' then  -- a bridge of a version that holds none has cancelled it, or sent it
    redis.call('ZREM', HELD, id)
  elseif hopeless then
    set_awaited(job, left)
    table.insert(in_vain, {id, attempt, unpack(hopeless)})
  else
    set_awaited(job, left)
    if #left == 0 and (tonumber(due or '') or 0) <= now then
      local origin = redis.call('HGET', job, 'origin') or ''
      local home, host = unpack(redis.call('HMGET', key('job', origin), 'home', 'home_host'))
      if home then redis.call('HSET', job, 'home', home, 'home_host', host or '') end  -- where it ended that was awaited
      redis.call('HSET', job, 'held', '', 'not_before', '', 'queued_at', now)
      wait_for_turn(id)
      table.insert(released, id)
    end
  end
end
return {released, in_vain}
