-- Tells how much waits, where and for how long; changes nothing. What stands in line lies in a set per owner: a few hundred
-- owners at most are looked at, and where there are more their numbers stand for all.
-- KEYS: tenants, window, parked, announce, tenants of batches, window of chunks, batches with parked lines, lines in flight,
--       targets due, workers, slots, progress
-- ARGV: now_ms ('' = Redis TIME), ms of silence after which a worker counts as gone, ms that a sign of progress is kept,
--       owners looked at at most, then prefixes: owner rings, waiting sets and records of jobs, the same of batches,
--       deliveries of a target
-- Output: {since progress, workers, slots, in the window, overdue there, parked, overdue there, to announce, oldest, chunks,
--         overdue, batches with parked lines, lines in flight, targets with something due, overdue, deliveries that wait there
--         (of a few hundred targets), jobs in line (high, normal, low), oldest of each, batches in line, lines of these, oldest}
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
local jobs = in_lines(KEYS[1], ARGV[5], ARGV[6], function(id)
  local times = redis.call('HMGET', ARGV[7] .. id, 'starts', 'created')
  return 0, tonumber(times[1] or times[2])
end)
local batches = in_lines(KEYS[5], ARGV[8], ARGV[9], function(id)
  local facts = redis.call('HMGET', ARGV[10] .. id, 'total', 'cursor')
  return (tonumber(facts[1]) or 0) - (tonumber(facts[2]) or 0), nil
end)
local function all_of(three) return three[1] + three[2] + three[3] end
return {
  left > 0 and kept - left or -1,
  redis.call('ZCOUNT', KEYS[10], now - ms_silence, '+inf'), tonumber(redis.call('GET', KEYS[11])) or 0,
  redis.call('ZCARD', KEYS[2]), overdue(KEYS[2]), redis.call('ZCARD', KEYS[3]), overdue(KEYS[3]),
  redis.call('ZCARD', KEYS[4]), overdue(KEYS[4]), redis.call('ZCARD', KEYS[6]), overdue(KEYS[6]),
  redis.call('ZCARD', KEYS[7]), tonumber(redis.call('HGET', KEYS[8], '*')) or 0,
  redis.call('ZCARD', KEYS[9]), overdue(KEYS[9]), deliveries,
  jobs.count[1], jobs.count[2], jobs.count[3], jobs.oldest[1], jobs.oldest[2], jobs.oldest[3],
  all_of(batches.count), batches.lines, math.max(unpack(batches.oldest)),
}
