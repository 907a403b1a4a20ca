-- Append events of a running attempt. ARGV: id, attempt, log lines kept, fields to set (JSON),
-- then (kind, data, lines) for each event. Returns 1, or 0 where the attempt is not the one
-- that holds the job: a zombie's writes are refused.
local id, attempt = ARGV[1], ARGV[2]
local job = key('job', id)
local status, current = unpack(redis.call('HMGET', job, 'status', 'attempt'))
if current ~= attempt then return 0 end
if status ~= 'running' and status ~= 'pausing' and status ~= 'cancelling' then return 0 end
local now = now_ms()
for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', job, field, value) end
redis.call('HSET', job, 'updated_at', now)
for i = 5, #ARGV, 3 do
  append_event(id, attempt, ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[3]))
end
if #ARGV >= 5 then wake_sender(id, now) end
return 1
