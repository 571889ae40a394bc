-- Counts successes of one deployment, settles the tokens that were only estimated, after a probe opens it again, and notes what
-- was learned: how fast it is, and that its provider has nothing left for a while.
-- KEYS: state, pause of its key, usage log
-- ARGV: now_ms ('' = Redis TIME), window ms, successes that count for the ratio rule, was one the probe ('1' | '0'),
--       ms it rests or 0, how many samples follow, most that are kept, ttl of them in ms, the samples (seconds per token);
--       then when tokens were booked (ms) and how many more were used than booked, input and output (negative: fewer)
-- Output: 1
local state, pause, log = KEYS[1], KEYS[2], KEYS[3]
local window, successes, rest, samples = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])
-- @include now
-- @include keep
if ARGV[4] == '1' then
  -- What another call has learned since the probe began stands: a newer cooldown or pause is not lifted.
  if (tonumber(redis.call('HGET', state, 'until')) or 0) <= now then
    redis.call('HDEL', state, 'until', 'probe', 'parked', 'parked_for')
    for _, field in ipairs(redis.call('HKEYS', state)) do
      if string.sub(field, 1, 8) == 'failures' then redis.call('HDEL', state, field) end
    end
  end
  if (tonumber(redis.call('HGET', pause, 'until')) or 0) <= now then redis.call('DEL', pause) end
end
if successes > 0 then
  local since = tonumber(redis.call('HGET', state, 'since')) or 0
  if now - since >= window then redis.call('HSET', state, 'since', now, 'failures', 0, 'successes', 0) end
  redis.call('HINCRBY', state, 'successes', successes)
  keep(state, 2 * window)
end
if rest > 0 and now + rest > (tonumber(redis.call('HGET', state, 'rests')) or 0) then
  redis.call('HSET', state, 'rests', math.ceil(now + rest))
  keep(state, rest + 60000)
end
if samples > 0 then
  -- @include samples
  note_samples(state, { unpack(ARGV, 9, 8 + samples) }, tonumber(ARGV[7]), tonumber(ARGV[8]))
end
if #ARGV > 8 + samples then
  -- @include usage
  local sum = usage_of(state, log, redis.call('HGET', state, 'usage'))
  for at = 9 + samples, #ARGV, 3 do
    -- A part that left the window in the meantime left the sum as well.
    if redis.call('HEXISTS', log, math.floor(ARGV[at] / part_ms)) == 1 then
      book(state, log, sum, tonumber(ARGV[at]), { 0, tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]) }, 1)
    end
  end
end
return 1
