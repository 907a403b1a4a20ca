-- Have the duty of some work. ARGV: its key, who asks, for how many ms (0: leave it).
-- Returns 1 if it is theirs, else 0.
local name, me, keep_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local holder = redis.call('GET', name)
if keep_ms == 0 then
  if holder == me then redis.call('DEL', name) end
  return 0
end
if holder and holder ~= me then
  -- The clock was set back: else a holder that died would have it for as long.
  if redis.call('PTTL', name) > keep_ms then redis.call('PEXPIRE', name, keep_ms) end
  return 0
end
redis.call('SET', name, me, 'PX', keep_ms)
return 1
