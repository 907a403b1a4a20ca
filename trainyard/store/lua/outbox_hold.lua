-- Write down what was handled, and extend the lock. One script, so that a sender that lost the job
-- writes nothing at all.
-- ARGV: id, holder, lock in ms, set-aside record (JSON, '' = none), its kind, records kept, entry that
-- was sent again ('' = none), fields of the delivery hash (JSON), '1' if the backend took something.
-- Returns Redis's time in ms and the id of the newest status; 0 for a time if another sender has taken
-- the job. A lock that ran out without anybody taking the job is taken again.
local id, holder, now = ARGV[1], ARGV[2], now_ms()
local delivery = key('delivery', id)
if redis.call('HGET', delivery, 'holder') ~= holder then return {0, ''} end
set_fields(delivery, ARGV[8])
-- The sender repeats a call whose answer was lost: it sets aside once.
if ARGV[4] ~= '' and redis.call('LINDEX', SET_ASIDE, 0) ~= ARGV[4] then
  redis.call('LPUSH', SET_ASIDE, ARGV[4])
  redis.call('LTRIM', SET_ASIDE, 0, tonumber(ARGV[6]) - 1)
  redis.call('HINCRBY', SET_ASIDE_COUNTS, ARGV[5], 1)
end
if ARGV[9] == '1' then redis.call('SET', ACCEPTED, now) end
if ARGV[7] ~= '' then redis.call('XDEL', key('again', id), ARGV[7]) end
redis.call('SET', key('delivery-lock', id), holder, 'PX', ARGV[3])
redis.call('ZADD', UNDELIVERED, 'XX', now + tonumber(ARGV[3]), id)
return {now, redis.call('LINDEX', key('status-index', id), -1) or '0-0'}
