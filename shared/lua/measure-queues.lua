-- Tells how much waits, where and for how long; changes nothing. What stands in line lies in a set per owner: some dozen
-- owners at most are looked at, and where there are more their numbers stand for all.
-- KEYS: tenants, window, parked, announce, tenants of batches, window of chunks, batches with parked lines, lines in flight,
--       targets due, workers, slots, progress
-- ARGV: now_ms ('' = Redis TIME), ms of silence after which a worker counts as gone, ms that a sign of progress is kept,
--       owners looked at at most, then prefixes: owner rings, waiting sets and records of jobs, the same of batches,
--       deliveries of a target
-- Output: {since progress, workers, slots, in the window, overdue there, parked, overdue there, to announce, oldest, chunks,
--         overdue, batches with parked lines, lines in flight, targets with something due, overdue, deliveries that wait there
--         (of some dozen targets), jobs in line (high, normal, low), oldest of each, batches in line, lines of these, oldest}
--         times in ms; -1: there is none
local ms_silence, kept, owners_max = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
-- @include now
-- @include in-lines
local function overdue(key)
  local first = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
  return first and math.max(0, math.floor(now - first)) or -1
end

local left, deliveries = redis.call('PTTL', KEYS[12]), 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[9], 0, owners_max - 1)) do
  deliveries = deliveries + redis.call('ZCARD', ARGV[11] .. id)
end

local jobs, first_jobs = in_lines(KEYS[1], ARGV[5], ARGV[6])
local oldest = { -1, -1, -1 }
for class, front in ipairs(first_jobs) do
  for at = 1, math.min(#front, looked_at) do
    -- One that was delayed is older than it has waited.
    local starts = tonumber(redis.call('HGET', ARGV[7] .. front[at].id, 'starts') or nil) or 0
    oldest[class] = math.max(oldest[class], math.floor(now - math.max(front[at].since, starts)), 0)
  end
end
local batches, first_batches, times = in_lines(KEYS[5], ARGV[8], ARGV[9])
local lines, oldest_batch = 0, -1
for _, front in ipairs(first_batches) do
  for _, batch in ipairs(front) do
    local facts = redis.call('HMGET', ARGV[10] .. batch.id, 'total', 'cursor')
    lines = lines + (tonumber(facts[1]) or 0) - (tonumber(facts[2]) or 0)
    oldest_batch = math.max(oldest_batch, math.floor(now - batch.since), 0)
  end
end

return {
  left > 0 and kept - left or -1,
  redis.call('ZCOUNT', KEYS[10], now - ms_silence, '+inf'), tonumber(redis.call('GET', KEYS[11])) or 0,
  redis.call('ZCARD', KEYS[2]), overdue(KEYS[2]), redis.call('ZCARD', KEYS[3]), overdue(KEYS[3]),
  redis.call('ZCARD', KEYS[4]), overdue(KEYS[4]), redis.call('ZCARD', KEYS[6]), overdue(KEYS[6]),
  redis.call('ZCARD', KEYS[7]), tonumber(redis.call('HGET', KEYS[8], '*')) or 0,
  redis.call('ZCARD', KEYS[9]), overdue(KEYS[9]), deliveries,
  jobs[1], jobs[2], jobs[3], oldest[1], oldest[2], oldest[3],
  batches[1] + batches[2] + batches[3], math.floor(lines * times + 0.5), oldest_batch,
}
