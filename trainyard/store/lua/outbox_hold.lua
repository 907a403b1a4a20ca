-- Write down what was handled, and extend the lock. One script, so that a sender that lost the job
-- writes nothing at all.
-- ARGV: id, holder, fields of the delivery hash and of the missing routes that changed (JSON), lock in
-- ms, '1' if the backend took something, entry that was sent again ('' = none), set-aside record (JSON,
-- '' = none), its kind, records kept.
-- Returns Redis's time in ms and the id of the newest status; 0 for a time if another sender has taken
-- the job. A lock that ran out without anybody taking the job is taken again.
local id, holder, now = ARGV[1], ARGV[2], now_ms()
local delivery = key('delivery', id)
if redis.call('HGET', delivery, 'holder') ~= holder then return {0, ''} end
set_fields(delivery, ARGV[3])
set_fields(MISSING_ROUTES, ARGV[4])
-- The sender repeats a call whose answer was lost: it sets aside once.
if ARGV[8] ~= '' and redis.call('LINDEX', SET_ASIDE, 0) ~= ARGV[8] then
  redis.call('LPUSH', SET_ASIDE, ARGV[8])
  redis.call('LTRIM', SET_ASIDE, 0, tonumber(ARGV[10]) - 1)
  redis.call('HINCRBY', SET_ASIDE_COUNTS, ARGV[9], 1)
end
if ARGV[6] == '1' then redis.call('SET', ACCEPTED, now) end
if ARGV[7] ~= '' then redis.call('XDEL', key('again', id), ARGV[7]) end
redis.call('SET', key('delivery-lock', id), holder, 'PX', ARGV[5])
redis.call('ZADD', UNDELIVERED, 'XX', now + tonumber(ARGV[5]), id)
return {now, redis.call('LINDEX', key('status-index', id), -1) or '0-0'}
