-- Append events of a running attempt, with the fields that they change: whoever reads one sees the
-- other. ARGV: id, attempt, batch number, log lines kept, fields to
-- set (JSON), then (kind, data, lines, lines that its line stands for) for each event. Returns 1, or
-- 0 if the attempt is not the one that holds the job: a zombie's writes are refused. A batch that
-- was taken before (its answer was lost, so it comes again) changes nothing.
local id, attempt, batch = ARGV[1], ARGV[2], ARGV[3]
local job = key('job', id)
local status, current, last = unpack(redis.call('HMGET', job, 'status', 'attempt', 'batch'))
if current ~= attempt then return 0 end
if not OCCUPIES[status] then return 0 end
if last and tonumber(last) >= tonumber(batch) then return 1 end
local now = now_ms()
local fields = cjson.decode(ARGV[5])
for field, value in pairs(fields) do redis.call('HSET', job, field, value) end
if fields.checkpoint then redis.call('HSET', job, 'checkpoint_at', now) end
if fields.progress then
  local step = tostring(cjson.decode(fields.progress).step)
  if step ~= redis.call('HGET', job, 'step') then redis.call('HSET', job, 'step', step, 'step_at', now) end
end
redis.call('HSET', job, 'updated_at', now, 'batch', batch)
local kinds = {}
for i = 6, #ARGV, 4 do
  kinds[ARGV[i]] = true
  if ARGV[i + 3] ~= '0' then note_cut(id, ARGV[i + 3]) end
  append_event(id, attempt, ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[4]))
end
wake_sender(id, now, kinds)
return 1
