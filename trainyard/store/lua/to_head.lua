-- Move a waiting job to the head of all, before others that were moved there. ARGV: id.
-- Returns 1, or 0 if it does not wait.
local id = ARGV[1]
if not redis.call('ZSCORE', WAITING, id) then return 0 end
local first = redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES')
local order = math.min(tonumber(first[2]), 0) - 1
redis.call('HSET', key('job', id), 'priority', 0, 'order', order)
redis.call('ZADD', WAITING, wait_score(0, order), id)
return 1
