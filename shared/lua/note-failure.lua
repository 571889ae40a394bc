-- Counts a failure of one deployment and decides, for all workers at once, whether it cools down. A cooldown is never
-- shortened. A 429 also pauses the key for every deployment that shares it.
-- KEYS: state, pause of its key
-- ARGV: now_ms ('' = Redis TIME), minute ms (length of the counting window), may cool ('1' | '0': disabled, 4xx of the
--       client's making, ...), cools at once ('1' | '0'), allowed fails ('' = ratio rule), cooldown ms, key pause ms or 0,
--       counts for the ratio with others in its group ('1' | '0'), was the probe ('1' | '0'), class that is counted apart or
--       '', then where it tells how slow the deployment is: most samples that are kept, their ttl in ms, seconds per token
-- Output: {cooling until ms or 0, key paused until ms or 0, now_ms}
local state, pause = KEYS[1], KEYS[2]
local minute, allowed = tonumber(ARGV[2]), tonumber(ARGV[5])
local cooldown, key_pause = math.ceil(tonumber(ARGV[6])), math.ceil(tonumber(ARGV[7]))
local was_probe, class = ARGV[9] == '1', ARGV[10]
-- @include now
-- @include keep

local function prolong(key, till)
  till = math.max(till, tonumber(redis.call('HGET', key, 'until')) or 0)
  redis.call('HSET', key, 'until', till)
  redis.call('HDEL', key, 'probe')
  keep(key, till - now + math.max(minute, 60000))
  return till
end

if ARGV[11] then
  -- @include samples
  note_samples(state, { ARGV[13] }, tonumber(ARGV[11]), tonumber(ARGV[12]))
end
local paused = 0
if key_pause > 0 then paused = prolong(pause, now + key_pause) end
if was_probe then
  redis.call('HDEL', state, 'probe')
  if key_pause == 0 then redis.call('HDEL', pause, 'probe') end
end
if ARGV[3] ~= '1' then return { 0, paused, now } end

local since_field, failures_field = 'since' .. class, 'failures' .. class
local since = tonumber(redis.call('HGET', state, since_field)) or 0
if now - since >= minute then
  redis.call('HSET', state, since_field, now, failures_field, 0)
  if class == '' then redis.call('HSET', state, 'successes', 0) end
end
local failures = redis.call('HINCRBY', state, failures_field, 1)
local total = failures + (tonumber(redis.call('HGET', state, 'successes')) or 0)
keep(state, 2 * minute)

-- LiteLLM's ratio rule of 2026: more than half of at least five calls, or all of a thousand when there is no other deployment.
local by_ratio = ARGV[8] == '1' and total >= 5 and failures / total > 0.5 or total >= 1000 and failures == total
local cools = was_probe or ARGV[4] == '1'
if allowed then cools = cools or failures > allowed else cools = cools or by_ratio end
if not cools or cooldown <= 0 then return { 0, paused, now } end
return { prolong(state, now + cooldown), paused, now }
