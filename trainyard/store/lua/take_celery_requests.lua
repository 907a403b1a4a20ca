-- Move Celery messages into the request stream, so that one consumer group looks after both.
-- KEYS: the stream, then the queue's lists by priority. ARGV: how many at most.
-- Returns how many were moved. A message is in one of the two at every moment.
local moved, most = 0, tonumber(ARGV[1])
for i = 2, #KEYS do
  while moved < most do
    local message = redis.call('RPOP', KEYS[i])
    if not message then break end
    redis.call('XADD', KEYS[1], '*', 'celery', message)
    moved = moved + 1
  end
end
return moved
