-- For so long after a limit (or a ranking) asked for it, every call is counted, also those of configs without that limit.
-- Needs: now, window, keep
local counted_ms = math.max(600000, 3 * window)

-- @param till until when it is marked so far, 0 = not
local function mark(state, name, till)
  if till > now + counted_ms / 2 then return end
  redis.call('HSET', state, name, now + counted_ms)
  keep(state, counted_ms)
end
