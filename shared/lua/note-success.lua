-- Counts successes of one deployment, settles the tokens that were only estimated, and after a probe opens it again.
-- KEYS: state, pause of its key, token log
-- ARGV: now_ms ('' = Redis TIME), window ms, successes that count for the ratio rule, was one the probe ('1' | '0'),
--       then the sixtieth of the window in which tokens were reserved and how many were used beyond the estimate
--       (negative: fewer), pair by pair
-- Output: 1
local state, pause, token_log = KEYS[1], KEYS[2], KEYS[3]
local window, successes = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if ARGV[4] == '1' then
  -- What another call has learned since the probe began stands: a newer cooldown or pause is not lifted.
  if (tonumber(redis.call('HGET', state, 'until')) or 0) <= now then
    redis.call('HDEL', state, 'until', 'probe', 'failures', 'parked', 'parked_for')
  end
  if (tonumber(redis.call('HGET', pause, 'until')) or 0) <= now then redis.call('DEL', pause) end
end
if successes > 0 then
  local since = tonumber(redis.call('HGET', state, 'since')) or 0
  if now - since >= window then redis.call('HSET', state, 'since', now, 'failures', 0, 'successes', 0) end
  redis.call('HINCRBY', state, 'successes', successes)
  redis.call('PEXPIRE', state, math.max(redis.call('PTTL', state), 2 * window))
end
for at = 5, #ARGV, 2 do
  -- A part that left the window in the meantime left the sum as well.
  if redis.call('HEXISTS', token_log, ARGV[at]) == 1 then
    redis.call('HINCRBY', token_log, ARGV[at], ARGV[at + 1])
    redis.call('HINCRBY', state, 'tpm_sum', ARGV[at + 1])
  end
end
return 1
