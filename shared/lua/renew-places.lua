-- Prolongs the leases of a process's calls in flight at one owner's deployments. One that had run out is taken again: its call
-- is still being made.
-- KEYS: calls in flight of each deployment
-- ARGV: now_ms ('' = Redis TIME), lease ms, then for each deployment how many holders, and these
-- Output: 1
local lease_ms, at = tonumber(ARGV[2]), 3
-- @include now
-- @include keep
-- @include when-full
if KEYS[1] then go_on_when_full(KEYS[1]) end
for _, flight in ipairs(KEYS) do
  local last = at + tonumber(ARGV[at])
  for index = at + 1, last do redis.call('ZADD', flight, now + lease_ms, ARGV[index]) end
  keep(flight, lease_ms + 1000)
  at = last + 1
end
return 1
