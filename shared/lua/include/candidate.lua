-- One candidate and how it stands. Needs: cooling, usage, limits, in-line, ranking, held, held_at
-- Its names and limits; ARGV from 9 on hold 'tier rpm tpm itpm otpm parallel' of each, nothing when none has any.
local function candidate(i)
  local k = 5 * i - 4
  local tier, rpm, tpm, itpm, otpm, parallel = figures(ARGV[8 + i] or '0 0 0 0 0 0')
  return {
    i = i, state = KEYS[k], pause = KEYS[k + 1], log = KEYS[k + 2], flight = KEYS[k + 3], line = KEYS[k + 4],
    tier = tier, limits = math.max(rpm, tpm, itpm, otpm) > 0 and { rpm, tpm, itpm, otpm }, parallel = parallel,
  }
end

-- Two entries of a list may be one deployment: they share one sum.
local sums = {}
local function sum_of(one, text)
  sums[one.state] = sums[one.state] or usage_of(one.state, one.log, text)
  return sums[one.state]
end

-- What has passed is forgotten, so that the usual case is short again.
local function pending(one, name, till)
  till = tonumber(till) or 0
  if till > now then return till end
  if till > 0 then redis.call('HDEL', one.state, name) end
  return 0
end

local function wait_for(one, at, why)
  if at > one.at then one.at, one.why = at, why end
end

-- Sets `at` (now: free), `why`, what is counted, and whether its probe and its key's are due.
local function look(one)
  local state = redis.call('HMGET', one.state, 'until', 'probe', 'rests', 'counted', 'leased', 'usage')
  local pause = redis.call('HMGET', one.pause, 'until', 'probe')
  one.why = 'cooldown'
  one.at, one.probes = cooling(state[1], state[2])
  local resumes
  resumes, one.key_probes = cooling(pause[1], pause[2])
  wait_for(one, resumes, 'cooldown')
  wait_for(one, pending(one, 'rests', state[3]), 'rests')
  one.counted = pending(one, 'counted', state[4])
  one.leased = pending(one, 'leased', state[5])
  one.counts = one.limits or ranking == 'tokens'
  if one.counts or one.counted > 0 then one.sum = sum_of(one, state[6]) end
  if one.limits and one.i == held then
    wait_for(one, math.max(held_at, held_free_at(one.log, one.sum, one.limits)), 'limit')
  elseif one.limits then
    wait_for(one, free_at(one.log, one.sum, one.limits), 'limit')
  end
  if one.parallel > 0 and one.at <= now then stand_in_line(one) end
end
