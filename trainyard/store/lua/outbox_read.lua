-- Entries of a stream of a job beyond an id, oldest first. One script, so that a page ends by its
-- size: XRANGE knows counts only, and an entry may hold a megabyte.
-- ARGV: stream ('events' or 'again'), id, after, entries at most, bytes at most (passed by four
-- entries at most).
local found, bytes, after = {}, 0, ARGV[3]
while #found < tonumber(ARGV[4]) and bytes < tonumber(ARGV[5]) do
  local some = redis.call('XRANGE', key(ARGV[1], ARGV[2]), '(' .. after, '+', 'COUNT', 4)
  for _, entry in ipairs(some) do
    for _, part in ipairs(entry[2]) do bytes = bytes + #part end
    found[#found + 1] = entry
    after = entry[1]
  end
  if #some < 4 then break end
end
return found
