-- Counts a success of one deployment, settles the tokens that were only estimated, and after a probe opens it again.
-- KEYS: state, pause of its key, token log
-- ARGV: now_ms ('' = Redis TIME), window ms, counts for the ratio rule ('1' | '0'), was the probe ('1' | '0'),
--       when the tokens were reserved in ms, tokens used beyond the estimate (negative: fewer; 0 = nothing to settle)
-- Output: 1
local state, pause, token_log = KEYS[1], KEYS[2], KEYS[3]
local window, surplus = tonumber(ARGV[2]), tonumber(ARGV[6])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if ARGV[4] == '1' then
  redis.call('HDEL', state, 'until', 'probe', 'failures', 'parked', 'parked_for')
  redis.call('DEL', pause)
end
if ARGV[3] == '1' then
  local since = tonumber(redis.call('HGET', state, 'since')) or 0
  if now - since >= window then redis.call('HSET', state, 'since', now, 'failures', 0, 'successes', 0) end
  redis.call('HINCRBY', state, 'successes', 1)
  redis.call('PEXPIRE', state, math.max(redis.call('PTTL', state), 2 * window))
end
if surplus ~= 0 then
  local bucket = math.floor(tonumber(ARGV[5]) / math.ceil(window / 60))
  if redis.call('HEXISTS', token_log, bucket) == 1 then redis.call('HINCRBY', token_log, bucket, surplus) end
end
return 1
