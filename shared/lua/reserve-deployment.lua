-- Takes the first deployment, in the caller's order of preference, that is neither cooling nor at a limit. When there is
-- none, names the one that is free first and when; if a limit is the reason it keeps a place of its own for the caller
-- there, so that waiting jobs wake in their order. After a cooldown the first to come is the probe; the rest wait for it.
-- Usage is counted in sixtieths of the window, each held against the limit until its end lies a whole window back; the
-- state holds the sum, so that the sixtieths are only read once in each, and when the limit is near.
-- KEYS: per candidate its state, its key's pause, its request log, its token log (hashes of sixtieth -> usage)
-- ARGV: now_ms ('' = Redis TIME), window ms, tokens estimated, probe ms, candidate whose place is already kept (1-based)
--       or 0, when that place is in ms, keep a place ('1' | '0'), then rpm and tpm of each (0 = none)
-- Output: {'go', candidate, ms at which it is counted, is probe (1 | 0)} | {'wait', candidate, at ms, 'cooldown' | 'limit', now_ms}
local window, tokens, probe_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local held, held_at, keeps = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- One part in a hundred more than the window: calls reach the provider with more or less delay than they were granted.
local span, part_ms = math.ceil(window * 1.01), math.ceil(window / 60)
local part = math.floor(now / part_ms)

local function cooling(till, probe)
  till, probe = tonumber(till) or 0, tonumber(probe) or 0
  if till > now then return till, false end
  -- Long enough to give the slot back meanwhile, and the same for all who come within a second.
  if till > 0 and probe > now then return math.min(probe, math.ceil((now + 1200) / 1000) * 1000), false end
  return now, till > 0
end

-- When `need` more fits under the limit. A request larger than the whole limit runs alone.
local function free_at(state, log, name, sum, swept, limit, need)
  sum = tonumber(sum) or 0
  if swept == tostring(part) and sum + need <= limit then return now end
  local stored, parts = redis.call('HGETALL', log), {}
  sum = 0
  for i = 1, #stored, 2 do
    local ends = (tonumber(stored[i]) + 1) * part_ms + span
    if ends <= now then
      redis.call('HDEL', log, stored[i])
    else
      parts[#parts + 1] = { ends, tonumber(stored[i + 1]) }
      sum = sum + tonumber(stored[i + 1])
    end
  end
  redis.call('HSET', state, name .. '_sum', sum, name .. '_swept', tostring(part))
  redis.call('PEXPIRE', log, 3 * span)
  redis.call('PEXPIRE', state, math.max(redis.call('PTTL', state), 3 * span))
  table.sort(parts, function(a, b) return a[1] < b[1] end)
  local at = now
  for _, one in ipairs(parts) do
    if sum + need <= limit then break end
    at, sum = one[1], sum - one[2]
  end
  return at
end

-- Books (sign 1) or gives back (sign -1) one call at that time. No more tokens than the limit: it would never fit.
local function book(i, at, sign)
  local rpm, tpm = tonumber(ARGV[6 + 2 * i]), tonumber(ARGV[7 + 2 * i])
  local needs = { rpm = rpm > 0 and 1 or 0, tpm = math.min(tokens, tpm) }
  for name, log in pairs({ rpm = KEYS[4 * i - 1], tpm = KEYS[4 * i] }) do
    local part_at = math.floor(at / part_ms)
    if needs[name] > 0 and (sign > 0 or redis.call('HEXISTS', log, part_at) == 1) then
      redis.call('HINCRBY', log, part_at, sign * needs[name])
      redis.call('HINCRBY', KEYS[4 * i - 3], name .. '_sum', sign * needs[name])
      if at > now then redis.call('PEXPIRE', log, math.ceil(at - now + 3 * span)) end
    end
  end
end

-- A place is good at its time. Used long after it would pile up with those of later times: then it is given back.
if held > 0 and math.abs(now - held_at) > math.max(2 * part_ms, 250) then
  book(held, held_at, -1)
  held = 0
end

local best, best_at, best_why
for i = 1, #KEYS / 4 do
  local key, rpm, tpm = KEYS[4 * i - 3], tonumber(ARGV[6 + 2 * i]), tonumber(ARGV[7 + 2 * i])
  local state = redis.call('HMGET', key, 'until', 'probe', 'rpm_sum', 'rpm_swept', 'tpm_sum', 'tpm_swept')
  local pause = redis.call('HMGET', KEYS[4 * i - 2], 'until', 'probe')
  local at, is_probe = cooling(state[1], state[2])
  local resumes, is_pause_probe = cooling(pause[1], pause[2])
  local why = 'cooldown'
  at = math.max(at, resumes)
  if i ~= held then
    local fits = now
    if rpm > 0 then fits = free_at(key, KEYS[4 * i - 1], 'rpm', state[3], state[4], rpm, 1) end
    if tpm > 0 then
      local need = math.min(tokens, tpm)
      fits = math.max(fits, free_at(key, KEYS[4 * i], 'tpm', state[5], state[6], tpm, need))
    end
    if fits > at then at, why = fits, 'limit' end
  end
  if at <= now then
    if is_probe then redis.call('HSET', key, 'probe', now + probe_ms) end
    if is_pause_probe then redis.call('HSET', KEYS[4 * i - 2], 'probe', now + probe_ms) end
    if i ~= held then book(i, now, 1) end
    return { 'go', i, i == held and held_at or now, (is_probe or is_pause_probe) and 1 or 0 }
  end
  if not best or at < best_at then best, best_at, best_why = i, at, why end
end

if keeps and best_why == 'limit' then
  book(best, best_at, 1)
elseif keeps then
  -- Those who wait for one cooldown come back a hundred a second, not all at once.
  local key = KEYS[4 * best - 3]
  if redis.call('HGET', key, 'parked_for') ~= tostring(best_at) then
    redis.call('HSET', key, 'parked_for', tostring(best_at), 'parked', 0)
    redis.call('PEXPIRE', key, math.ceil(math.max(redis.call('PTTL', key), best_at - now + 60000)))
  end
  best_at = best_at + (redis.call('HINCRBY', key, 'parked', 1) - 1) * 10
end
return { 'wait', best, best_at, best_why, now }
