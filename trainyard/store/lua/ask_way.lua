-- Ask a running attempt to make way. ARGV: id, attempt, why, and if it is for a job that waits: its id
-- ('' if not), its attempt, how often an hour a job may make way so.
-- Returns 1 if it is asked now; 0 if it was before, if nobody has to make way any more, or not so often.
-- One step, so that of several who ask for one job a single one is heard.
local id, attempt, other, now = ARGV[1], ARGV[2], ARGV[4], now_ms()
local job = key('job', id)
local status, current, asked, made = unpack(
  redis.call('HMGET', job, 'status', 'attempt', 'make_way', 'slipped_at'))
if status ~= 'running' or current ~= attempt then return 0 end
if asked and string.match(asked, '^%d+') == attempt then return 0 end
if other ~= '' then
  local waits, its_attempt, before = unpack(
    redis.call('HMGET', key('job', other), 'status', 'attempt', 'slips_before'))
  if waits ~= 'queued' or its_attempt ~= ARGV[5] then return 0 end
  local who, which = string.match(before or '', '^(%S+):(%d+)$')
  if who then  -- asked on its behalf already, and not there yet
    local is, at = unpack(redis.call('HMGET', key('job', who), 'status', 'attempt'))
    if is and OCCUPIES[is] and at == which then return 0 end
  end
  if #within_an_hour(made, now) >= tonumber(ARGV[6]) then return 0 end
  redis.call('HSET', key('job', other), 'slips_before', id .. ':' .. attempt)
end
redis.call('HSET', job, 'make_way', attempt .. ' ' .. ARGV[3], 'way_for', other)
redis.call('PUBLISH', ASKED, id)
return 1
