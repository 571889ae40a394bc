-- Takes the first deployment, in the caller's order of preference, that is neither cooling nor at a limit. When there is
-- none, names the one that is free first and when; if a limit is the reason it keeps a place of its own for the caller
-- there, so that waiting jobs wake one by one. After a cooldown the first to come is the probe; the rest wait for it.
-- KEYS: per candidate its state, its key's pause, its request log (sorted set by ms), its token log (hash of buckets)
-- ARGV: now_ms ('' = Redis TIME), window ms, member of this call for the logs, tokens estimated, probe ms,
--       candidate whose place is already kept (1-based) or 0, keep a place ('1' | '0'), then rpm and tpm of each (0 = none)
-- Output: {'go', candidate, now_ms, is probe (1 | 0)} | {'wait', candidate, at ms, 'cooldown' | 'limit', now_ms}
local window, member, tokens, probe_ms = tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local held, keeps = tonumber(ARGV[6]), ARGV[7] == '1'
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- One part in a hundred more than the window: calls reach the provider with more or less delay than they were granted.
local span, bucket_ms = math.ceil(window * 1.01), math.ceil(window / 60)

local function cooling(key)
  local state = redis.call('HMGET', key, 'until', 'probe')
  local till, probe = tonumber(state[1]) or 0, tonumber(state[2]) or 0
  if till > now then return till, false end
  if till > 0 and probe > now then return math.min(probe, now + 500), false end
  return now, till > 0
end

local function requests_free_at(log, rpm)
  local nth = redis.call('ZREVRANGE', log, rpm - 1, rpm - 1, 'WITHSCORES')
  return nth[2] and tonumber(nth[2]) + span or now
end

local function tokens_free_at(log, tpm)
  local buckets, sum, at = {}, tokens, now
  local stored = redis.call('HGETALL', log)
  for i = 1, #stored, 2 do
    local free_at = (tonumber(stored[i]) + 1) * bucket_ms + span
    if free_at <= now then
      redis.call('HDEL', log, stored[i])
    else
      buckets[#buckets + 1] = { free_at, tonumber(stored[i + 1]) }
      sum = sum + buckets[#buckets][2]
    end
  end
  table.sort(buckets, function(a, b) return a[1] < b[1] end)
  for _, bucket in ipairs(buckets) do
    if sum <= tpm then break end
    at, sum = bucket[1], sum - bucket[2]
  end
  return at
end

local function take(i, at, rpm, tpm)
  if rpm > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[4 * i - 1], '-inf', now - span)
    redis.call('ZADD', KEYS[4 * i - 1], at, member)
    redis.call('PEXPIRE', KEYS[4 * i - 1], at - now + 2 * span)
  end
  if tpm > 0 then
    redis.call('HINCRBY', KEYS[4 * i], math.floor(at / bucket_ms), tokens)
    redis.call('PEXPIRE', KEYS[4 * i], at - now + 2 * span)
  end
end

local best, best_at, best_why
for i = 1, #KEYS / 4 do
  local rpm, tpm = tonumber(ARGV[6 + 2 * i]), tonumber(ARGV[7 + 2 * i])
  local at, is_probe = cooling(KEYS[4 * i - 3])
  local pause, is_pause_probe = cooling(KEYS[4 * i - 2])
  local why = 'cooldown'
  at = math.max(at, pause)
  if i ~= held then
    local free_at = rpm > 0 and requests_free_at(KEYS[4 * i - 1], rpm) or now
    if tpm > 0 then free_at = math.max(free_at, tokens_free_at(KEYS[4 * i], tpm)) end
    if free_at > at then at, why = free_at, 'limit' end
  end
  if at <= now then
    if is_probe then redis.call('HSET', KEYS[4 * i - 3], 'probe', now + probe_ms) end
    if is_pause_probe then redis.call('HSET', KEYS[4 * i - 2], 'probe', now + probe_ms) end
    if i ~= held then take(i, now, rpm, tpm) end
    return { 'go', i, now, (is_probe or is_pause_probe) and 1 or 0 }
  end
  if not best or at < best_at then best, best_at, best_why = i, at, why end
end

if keeps and best_why == 'limit' then
  take(best, best_at, tonumber(ARGV[6 + 2 * best]), tonumber(ARGV[7 + 2 * best]))
elseif keeps then
  -- Those who wait for one cooldown come back a hundred a second, not all at once.
  local state = KEYS[4 * best - 3]
  if redis.call('HGET', state, 'parked_for') ~= tostring(best_at) then
    redis.call('HSET', state, 'parked_for', tostring(best_at), 'parked', 0)
    redis.call('PEXPIRE', state, math.max(redis.call('PTTL', state), best_at - now + 60000))
  end
  best_at = best_at + (redis.call('HINCRBY', state, 'parked', 1) - 1) * 10
end
return { 'wait', best, best_at, best_why, now }
