-- Ask a running attempt to make way. ARGV: id, attempt, why, and if it is for a job that waits: its id
-- ('' if not), its attempt (0: it is the id of a question to a model), how often an hour a job may make way so.
-- Returns 1 if it is asked now; 0 if it was before, if nobody has to make way any more, or not so often.
-- One step, so that of several who ask for one job a single one is heard.
local id, attempt, other, now = ARGV[1], ARGV[2], ARGV[4], now_ms()
local job, me = key('job', id), id .. ':' .. attempt
local status, current, asked, made = unpack(
  redis.call('HMGET', job, 'status', 'attempt', 'make_way', 'slipped_at'))
if status ~= 'running' or current ~= attempt then return 0 end
if asked and string.match(asked, '^%d+') == attempt then return 0 end
if other ~= '' then
  local is_question = ARGV[5] == '0'
  local question, way = PER_GENERATION['generation'] .. other, PER_GENERATION['generation-way'] .. other
  local waits, before
  if is_question then
    waits = redis.call('ZSCORE', GENERATIONS, other) and redis.call('EXISTS', question) == 1
    before = redis.call('GET', way)
  else
    local its_status, its_attempt, slips =
      unpack(redis.call('HMGET', key('job', other), 'status', 'attempt', 'slips_before'))
    waits, before = its_status == 'queued' and its_attempt == ARGV[5], slips
  end
  if not waits then return 0 end
  local who, which = string.match(before or '', '^(%S+):(%d+)$')
  if who then  -- asked on its behalf already, and not there yet
    local is, at = unpack(redis.call('HMGET', key('job', who), 'status', 'attempt'))
    if is and OCCUPIES[is] and at == which then return 0 end
  end
  if #within_an_hour(made, now) >= tonumber(ARGV[6]) then return 0 end
  if is_question then
    redis.call('SET', way, me, 'PX', math.max(1, redis.call('PTTL', question)))
  else
    redis.call('HSET', key('job', other), 'slips_before', me)
  end
end
redis.call('HSET', job, 'make_way', attempt .. ' ' .. ARGV[3], 'way_for', other)
redis.call('PUBLISH', ASKED, id)
return 1
