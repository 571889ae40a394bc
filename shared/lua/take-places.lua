-- Takes one deployment for many calls at once: for as many of the first of them as nothing stands in the way of. What is cooling,
-- resting, to be probed, or limits its calls in flight is left to reserve-deployment, and so are the calls that do not fit.
-- KEYS: state, its key's pause, usage log
-- ARGV: now_ms ('' = Redis TIME), window ms, rpm, tpm, itpm, otpm (0 = no limit), then of each call: input, output tokens as estimated
-- Output: {for how many, ms at which they are counted or 0}
local state, pause, log = KEYS[1], KEYS[2], KEYS[3]
local window = tonumber(ARGV[2])
local limits = { tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]) }
local is_limited = math.max(unpack(limits)) > 0
local calls = (#ARGV - 6) / 2
local known = redis.call('HMGET', state, 'until', 'rests', 'leased', 'counted', 'usage')
if known[1] or known[2] or known[3] or redis.call('HEXISTS', pause, 'until') == 1 then return { 0, 0 } end
if not is_limited and not known[4] then return { calls, 0 } end
-- @include now
local counted = tonumber(known[4]) or 0
if not is_limited and counted <= now then return { 0, 0 } end

local need, held_at = nil, 0
-- @include keep
-- @include usage
-- @include limits
-- @include mark
local sum = usage_of(state, log, known[5])
local use, total, taken = { sum[1], sum[2], sum[3] }, { 0, 0, 0 }, 0
for at = 7, #ARGV, 2 do
  need = { 1, tonumber(ARGV[at]), tonumber(ARGV[at + 1]) }
  if not fits(use, limits) then break end
  add(use, need, 1)
  add(total, need, 1)
  taken = taken + 1
end
if taken == 0 then return { 0, 0 } end
if is_limited then mark(state, 'counted', counted) end
book(state, log, sum, now, total, 1)
return { taken, now }
