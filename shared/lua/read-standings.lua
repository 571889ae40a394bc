-- How deployments stand now; changes nothing.
-- KEYS: per deployment its state, its key's pause, its usage log, its calls in flight
-- ARGV: now_ms ('' = Redis TIME), window ms
-- Output: per deployment {cooling until, key paused until, rests until (ms; 0: not), requests, input tokens and output tokens in
--         the window, calls in flight, mean seconds per output token or 0}, as decimal strings
local window = tonumber(ARGV[2])
-- @include now
-- @include keep
-- @include usage
-- @include samples
local function still(till)
  till = tonumber(till) or 0
  return till > now and till or 0
end

local out = {}
for k = 1, #KEYS, 4 do
  local state = redis.call('HMGET', KEYS[k], 'until', 'rests', 'usage', 'samples')
  local sum, used = read_use(state[3]), { 0, 0, 0 }
  -- Places that are kept for later are not used yet.
  each_part(KEYS[k + 2], math.max(gone + 1, sum.low or part), part, 1, function(_, use) add(used, use, 1) end)
  local in_flight = redis.call('ZCOUNT', KEYS[k + 3], string.format('(%.0f', now), '+inf')
  local figures = {
    still(state[1]), still(redis.call('HGET', KEYS[k + 1], 'until')), still(state[2]),
    used[1], used[2], used[3], in_flight, mean_of(state[4], 3600000),
  }
  for index, figure in ipairs(figures) do figures[index] = string.format('%.17g', figure) end
  out[#out + 1] = figures
end
return out
