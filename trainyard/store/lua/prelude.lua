-- Functions that the scripts share; the tables that they look into are made by scripts.py.
-- Leases and dates come from Redis's own clock: those of hosts differ.
local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function key(kind, id)
  return PER_JOB[kind] .. id
end

-- Set the fields of a JSON object; '' takes a field away.
local function set_fields(name, fields)
  for field, value in pairs(cjson.decode(fields)) do
    if value == '' then redis.call('HDEL', name, field) else redis.call('HSET', name, field, value) end
  end
end

-- Keep the newest log lines only, whole entries at a time. With the line that counts those that were
-- cut they are at most `keep`: the backend keeps as many, and would lose that line first.
local function trim_log(id, total, keep)
  if total <= keep then return end
  local index = key('log-index', id)
  while redis.call('LLEN', index) > 1 do
    local entry, first = string.match(redis.call('LINDEX', index, 0), '^(%S+) (%d+) %d+$')
    if total - tonumber(first) < keep then return end
    redis.call('XDEL', key('events', id), entry)
    redis.call('LPOP', index)
  end
end

-- The next log line stands for `lines` that were cut before they came here: should it be cut too, they
-- count, not it.
local function note_cut(id, lines)
  local number = redis.call('HGET', key('job', id), 'log_lines') or 0
  redis.call('RPUSH', key('cut-notes', id), number .. ' ' .. lines)
end

-- Append a status; those are found without reading what lies between.
local function append_status(id, attempt, sequence, data)
  local entry = redis.call('XADD', key('events', id), '*', 'kind', 'status', 'attempt', attempt,
    'sequence', sequence, 'data', data)
  redis.call('RPUSH', key('status-index', id), entry)
end

-- Append one event; `lines` is the number of log lines in it, 0 for every other kind.
local function append_event(id, attempt, kind, data, lines, keep)
  local job = key('job', id)
  local sequence = redis.call('HINCRBY', job, 'sequence', 1)
  if lines > 0 then
    local total = redis.call('HINCRBY', job, 'log_lines', lines)
    local first = total - lines
    local entry = redis.call('XADD', key('events', id), '*', 'kind', kind, 'attempt', attempt,
      'sequence', sequence, 'data', data, 'first_line', first)
    redis.call('RPUSH', key('log-index', id), entry .. ' ' .. first .. ' ' .. lines)
    trim_log(id, total, keep)
  elseif kind == 'status' then
    append_status(id, attempt, sequence, data)
  else
    if kind == 'metric' then redis.call('HINCRBY', key('delivery', id), 'written_metric', 1) end
    redis.call('XADD', key('events', id), '*', 'kind', kind, 'attempt', attempt,
      'sequence', sequence, 'data', data)
  end
end

-- When it is due, of a time that was written down: at once, if the clock was set back since.
local function due_at(written, now)
  local due = tonumber(written) or 0
  return due > now + DELAY_MAX and now or due
end

-- Wake who is to send a job's events: the courier beside its slot, and every one if that is away.
local function wake(id)
  local slot = redis.call('HGET', key('job', id), 'slot') or ''
  if redis.call('PUBLISH', WAKE .. ':' .. slot, id) == 0 then redis.call('PUBLISH', WAKE, id) end
end

-- Events of these kinds (a table of kind = true) came. Their job is due at once, or when the lane of
-- one is that waits for the backend: an event in a lane that waits must not wake its sender. A job
-- that is held has its due time from the sender, which looks for new events when it gives it back.
-- Without a token the job is known to no backend: nobody is told.
local function wake_sender(id, now, kinds)
  local due
  for kind in pairs(kinds) do
    local lane = LANE_OF[kind]
    if lane then
      local lane_due = due_at(redis.call('HGET', key('delivery', id), lane .. '_due'), now)
      due = math.min(due or math.huge, math.max(now, lane_due))
    end
  end
  if not due or redis.call('EXISTS', key('delivery-lock', id)) == 1 then return end
  if redis.call('EXISTS', key('token', id)) == 0 then return end
  local known = tonumber(redis.call('ZSCORE', UNDELIVERED, id) or math.huge)
  if due < known then redis.call('ZADD', UNDELIVERED, due, id) end
  if due == now then wake(id) end
end

-- Jobs wait by priority (0 first), then in the order in which they came.
local function wait_score(priority, order)
  return tonumber(priority) * 1e12 + tonumber(order)
end

-- Ids of the jobs that a held job (its key) awaits, one after the other.
local function awaited_by(job)
  return string.gmatch(redis.call('HGET', job, 'awaits') or '', '%S+')
end

local function set_awaited(job, ids)
  local text = table.concat(ids, ' ')
  if text ~= (redis.call('HGET', job, 'awaits') or '') then redis.call('HSET', job, 'awaits', text) end
end

-- A queued job waits for its turn, or, being held, to be released.
local function wait_for_turn(id)
  local held, due, priority, order =
    unpack(redis.call('HMGET', key('job', id), 'held', 'not_before', 'priority', 'order'))
  redis.call('ZREM', HELD, id)
  if (held or '') ~= '' then
    redis.call('ZADD', HELD, tonumber(due or '') or 0, id)
  else
    redis.call('ZADD', WAITING, wait_score(priority, order), id)
    if redis.call('HEXISTS', key('job', id), 'slip_in') == 1 then redis.call('SADD', SLIP_INS, id) end
  end
end

-- The times of a JSON list that lie in the last hour; none is of a clock that was set back since.
local function within_an_hour(times, now)
  local kept = {}
  for _, at in ipairs(cjson.decode(times or '[]')) do
    if at > now - 3600000 and at <= now then table.insert(kept, at) end
  end
  return kept
end

-- Count for good, beside the jobs, which are pruned one day (trainyard/store/counters.py reads it).
local function count(field) redis.call('HINCRBY', TOTALS, field, 1) end

local function observe(name, since, now)
  if not since then return end
  local ms = math.max(0, now - tonumber(since))
  count(name .. ':count')
  redis.call('HINCRBY', TOTALS, name .. ':ms', ms)
  for _, bound in ipairs(BUCKETS_S) do
    if ms <= bound * 1000 then return count(name .. ':le:' .. bound) end
  end
end

-- The month of a time in ms (UTC), as 2026-11, and when it began. Redis's Lua has no calendar: the
-- days are counted in years that begin in March, as in H. Hinnant's `civil_from_days`.
local function month_of(ms)
  local floor, today = math.floor, math.floor(ms / 86400000)
  local era = floor((today + 719468) / 146097)
  local day = today + 719468 - era * 146097
  local year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365)
  local of_year = day - (365 * year + floor(year / 4) - floor(year / 100))
  local march = floor((5 * of_year + 2) / 153)
  local month = march < 10 and march + 3 or march - 9
  local began = today - (of_year - floor((153 * march + 2) / 5))
  return string.format('%04d-%02d', year + era * 400 + (month < 3 and 1 or 0), month), began * 86400000
end

-- Add figures to those of one name in a sum. A sum holds so many names: those of users and models
-- come from outside.
local function add_to_sum(sum, name, figures)
  local known = redis.call('HGET', sum, name)
  if not known and redis.call('HLEN', sum) >= USAGE_NAMES then
    name = USAGE_OTHERS
    known = redis.call('HGET', sum, name)
  end
  local added, i = {}, 0
  for value in string.gmatch(known or '0 0 0 0 0', '%S+') do
    i = i + 1
    added[i] = string.format('%.0f', tonumber(value) + figures[i])
  end
  redis.call('HSET', sum, name, table.concat(added, ' '))
  redis.call('PEXPIRE', sum, USAGE_KEPT_MS)
end

-- Write down what an attempt used from `since` to `ended`: at the job, of all jobs, and in each month
-- (UTC) that it ran in, its energy by the share of the time. Figures: attempts, then ms in the slot,
-- those ms times its GPUs, the ms whose energy is known, mJ.
local function account(job, since, ended)
  local slot, user, model, base, gpus, mj =
    unpack(redis.call('HMGET', job, 'slot', 'user_id', 'model', 'base_model', 'gpus', 'attempt_mj'))
  local ms, known = ended - since, mj and 1 or 0
  gpus, mj = tonumber(gpus or 0), tonumber(mj or 0)
  redis.call('HINCRBY', job, 'ran_ms', ms)
  for name, value in pairs({gpu_ms = ms * gpus, metered_ms = ms * known, energy_mj = mj}) do
    if value > 0 then redis.call('HINCRBY', job, name, string.format('%.0f', value)) end
    redis.call('HINCRBY', TOTALS, 'used:' .. name, string.format('%.0f', value))
  end
  redis.call('HINCRBY', TOTALS, 'used:slot_ms', ms)
  redis.call('HDEL', job, 'attempt_mj')
  local sums = {all = 'all', user = user or '', model = base or model or '', slot = slot or ''}
  local left, until_ms, attempts = mj, ended, 1
  for _ = 1, USAGE_MONTHS do
    local month, began = month_of(math.max(until_ms - 1, since))
    local from = math.max(since, began)
    local part = until_ms - from
    local energy = from == since and left or math.floor(mj * part / ms)
    for by, name in pairs(sums) do
      add_to_sum(USAGE .. ':' .. month .. ':' .. by, name == '' and '-' or name,
        {attempts, part, part * gpus, part * known, energy})
    end
    if from == since then break end
    left, until_ms, attempts = left - energy, from, 0
  end
end
