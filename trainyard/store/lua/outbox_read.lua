-- Entries of a job's stream beyond an id, oldest first. ARGV: id, after, entries at most, bytes at
-- most (passed by four entries at most).
local found, bytes, after = {}, 0, ARGV[2]
while #found < tonumber(ARGV[3]) and bytes < tonumber(ARGV[4]) do
  local some = redis.call('XRANGE', key('events', ARGV[1]), '(' .. after, '+', 'COUNT', 4)
  for _, entry in ipairs(some) do
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    found[#found + 1] = entry
    after = entry[1]
  end
  if #some < 4 then break end
end
return found
