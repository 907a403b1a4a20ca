-- Ask for a job's messages to be sent again. One script, so that what leaves the set-aside list is in
-- the stream of what is sent again.
-- ARGV: id, what is asked ('try', or the number of the first log line of the events stream: all is sent
-- again), records of the set-aside list that go (JSON array), entries that are sent before all else (JSON
-- array of arrays of fields and values).
-- Returns 1, or 0 if there is no such job or its token is gone.
local id, now = ARGV[1], now_ms()
if redis.call('EXISTS', key('token', id)) == 0 then return 0 end
for _, record in ipairs(cjson.decode(ARGV[3])) do redis.call('LREM', SET_ASIDE, 1, record) end
if ARGV[2] ~= 'try' then redis.call('DEL', key('again', id)) end
for _, fields in ipairs(cjson.decode(ARGV[4])) do
  redis.call('XADD', key('again', id), '*', unpack(fields))
end
redis.call('HSET', key('delivery', id), 'asked', ARGV[2])
redis.call('HDEL', key('delivery', id), 'status_due', 'metric_due', 'log_due', 'prediction_due')
redis.call('DEL', MISSING_ROUTES)  -- they are asked for again
wake_sender(id, now, LANE_OF)
return 1
