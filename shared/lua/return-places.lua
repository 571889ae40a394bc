-- Gives back places that were kept at a limit for calls that will not be made, so that nobody waits behind them. One whose time
-- has come is spent.
-- KEYS: state, usage log
-- ARGV: now_ms ('' = Redis TIME), window ms, then of each place: ms at which it is counted, input, output tokens
-- Output: 1
local state, log, window = KEYS[1], KEYS[2], tonumber(ARGV[2])
-- @include now
-- @include keep
-- @include usage
local sum = usage_of(state, log, redis.call('HGET', state, 'usage'))
for index = 3, #ARGV, 3 do
  local at = tonumber(ARGV[index])
  if at > now then book(state, log, sum, at, { 1, tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2]) }, -1) end
end
return 1
