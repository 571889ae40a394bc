-- Lines that were handed a place at a deployment go on at once: the parked ones as if their time had come; whoever runs one of
-- the others is told.
-- KEYS: parked due
-- ARGV: now_ms ('' = Redis TIME), prefixes of: batches, parked lines, settled lines; channel, then batch, line, id, batch, line, id, ...
-- Output: ids of lines that have ended, or whose batch is stopped or gone
local parked_due = KEYS[1]
-- @include now
local ended = {}
for at = 6, #ARGV, 3 do
  local batch, line, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local status, ending = unpack(redis.call('HMGET', ARGV[2] .. batch, 'status', 'ending'))
  local is_over = status ~= 'in_progress' or ending or redis.call('GETBIT', ARGV[4] .. batch, line) == 1
  if is_over then
    ended[#ended + 1] = id
  elseif redis.call('ZADD', ARGV[3] .. batch, 'XX', 'CH', now, line) == 1 then
    redis.call('ZADD', parked_due, now, batch)
  else
    redis.call('PUBLISH', ARGV[5], id)
  end
end
return ended
