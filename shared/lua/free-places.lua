-- Gives back places in flight of one deployment, and hands them to those who are first in its line: who waits in a process hears
-- of it at once.
-- KEYS: calls in flight, line
-- ARGV: now_ms ('' = Redis TIME), lease ms, channel, then holders
-- Output: {who was given a place, who has become next by that}
local flight, line, lease_ms = KEYS[1], KEYS[2], tonumber(ARGV[2])
-- @include now
-- @include keep
-- @include places
redis.call('ZREM', flight, unpack(ARGV, 4))
local _, given, limit = hand_on(flight, line)
for _, holder in ipairs(given) do redis.call('PUBLISH', ARGV[3], holder) end
-- They are to stand ready: a parked job takes longer to be fetched than a short call takes.
local ready = {}
if #given > 0 then
  for _, member in ipairs(redis.call('ZRANGE', line, math.max(0, limit - #given), limit - 1)) do
    ready[#ready + 1] = string.match(member, '^%d+ (.*)$')
  end
end
return { given, ready }
