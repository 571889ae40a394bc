-- What a batch has to run, and how much of it at once. Needs: now
-- Of its own `concurrency`, if it has one: nothing until half of it, or of a chunk's width, is free, so that it is not cut to slivers.
local function own_room(inflight, own)
  if not own then return math.huge end
  local room = tonumber(own) - tonumber(inflight)
  return room >= math.ceil(math.min(tonumber(own), 50) / 2) and room or 0
end

-- Where many of its lines wait for their time, it waits for these before it goes on: at about a thousand of them.
local function takes_more(parked, cursor, total, settled)
  if cursor >= total then return false end
  local waiting, outstanding = redis.call('ZCARD', parked), cursor - settled
  return waiting < 1000 and (outstanding < 1000 or waiting * 10 < outstanding)
end

local function has_lines(parked, cursor, total, settled)
  return takes_more(parked, cursor, total, settled) or redis.call('ZCOUNT', parked, '-inf', now) > 0
end
