-- Counts a failure of one deployment and decides, for all workers at once, whether it cools down. A cooldown is never
-- shortened. A 429 also pauses the key for every deployment that shares it.
-- KEYS: state, pause of its key
-- ARGV: now_ms ('' = Redis TIME), minute ms (length of the counting window), may cool ('1' | '0': disabled, 4xx of the
--       client's making, ...), cools at once ('1' | '0'), allowed fails ('' = ratio rule), cooldown ms, key pause ms or 0,
--       counts for the ratio with others in its group ('1' | '0'), was the probe ('1' | '0')
-- Output: {cooling until ms or 0, key paused until ms or 0, now_ms}
local state, pause = KEYS[1], KEYS[2]
local minute, allowed = tonumber(ARGV[2]), tonumber(ARGV[5])
local cooldown, key_pause = math.ceil(tonumber(ARGV[6])), math.ceil(tonumber(ARGV[7]))
local was_probe = ARGV[9] == '1'
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function prolong(key, till)
  till = math.max(till, tonumber(redis.call('HGET', key, 'until')) or 0)
  redis.call('HSET', key, 'until', till)
  redis.call('HDEL', key, 'probe')
  redis.call('PEXPIRE', key, till - now + math.max(minute, 60000))
  return till
end

local paused = 0
if key_pause > 0 then paused = prolong(pause, now + key_pause) end
if was_probe then
  redis.call('HDEL', state, 'probe')
  if key_pause == 0 then redis.call('HDEL', pause, 'probe') end
end
if ARGV[3] ~= '1' then return { 0, paused, now } end

local since = tonumber(redis.call('HGET', state, 'since')) or 0
if now - since >= minute then redis.call('HSET', state, 'since', now, 'failures', 0, 'successes', 0) end
local failures = redis.call('HINCRBY', state, 'failures', 1)
local total = failures + (tonumber(redis.call('HGET', state, 'successes')) or 0)
redis.call('PEXPIRE', state, math.max(redis.call('PTTL', state), 2 * minute))

-- LiteLLM's ratio rule of 2026: more than half of at least five calls, or all of a thousand when there is no other deployment.
local by_ratio = ARGV[8] == '1' and total >= 5 and failures / total > 0.5 or total >= 1000 and failures == total
local cools = was_probe or ARGV[4] == '1'
if allowed then cools = cools or failures > allowed else cools = cools or by_ratio end
if not cools or cooldown <= 0 then return { 0, paused, now } end
return { prolong(state, now + cooldown), paused, now }
