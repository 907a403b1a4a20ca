-- Lease on the name of a slot. ARGV: 'take', 'look' or 'release', slot, worker, its holder (JSON), lease in ms,
-- a worker that is known to be gone ('' = none).
-- Returns the lease of another worker that stands, '' if none does. One that says nothing any more holds the name
-- for as long as an attempt of it has a lease: its training goes on without it.
local act, slot, worker, lease_ms, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5]), now_ms()
local known = redis.call('HGET', SLOT_LEASES, slot)
local lease = known and cjson.decode(known)

local function stands()
  if not lease or lease.worker == worker or lease.worker == ARGV[6] then return false end
  if now < lease.ends_ms and lease.ends_ms <= now + lease_ms then return true end  -- or the clock was set back
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', OCCUPYING, '(' .. now, '+inf')) do
    local process, claimed = unpack(redis.call('HMGET', key('job', id), 'slot_process', 'claim'))
    if claimed and process == lease.worker then return true end
  end
  return false
end

if act == 'release' then
  if lease and lease.worker == worker then redis.call('HDEL', SLOT_LEASES, slot) end
  return ''
end
if stands() then return known end
if act == 'take' then
  redis.call('HSET', SLOT_LEASES, slot,
    cjson.encode({worker = worker, holder = ARGV[4], ends_ms = now + lease_ms}))
end
return ''
