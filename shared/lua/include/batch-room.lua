-- What a batch has to run, and how much of it at once. Needs: now
-- Of its own `concurrency`, if it has one: nothing until half of it, or of a chunk's width, is free, so that it is not cut to slivers.
local function own_room(inflight, own)
  if not own then return math.huge end
  local room = tonumber(own) - tonumber(inflight)
  return room >= math.ceil(math.min(tonumber(own), 50) / 2) and room or 0
end

-- With too many lines parked it waits for these before it goes on.
local function has_lines(parked, cursor, total)
  if cursor < total and redis.call('ZCARD', parked) < 1000 then return true end
  return redis.call('ZCOUNT', parked, '-inf', now) > 0
end
