-- Takes deliveries whose time has come, to be enqueued, and looks at them again later: an entry that gets lost on its way
-- to a worker is made anew, and a full queue does not hide what stands behind it.
-- KEYS: due
-- ARGV: now_ms ('' = Redis TIME), most to take, ms after which to look again, prefix of delivery keys
-- Output: {id, number of its next try, ...}
local due = KEYS[1]
local limit, look, prefix = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)) do
  local attempts = redis.call('HGET', prefix .. id, 'attempts')
  if attempts then
    redis.call('ZADD', due, now + look, id)
    taken[#taken + 1] = id
    taken[#taken + 1] = attempts + 1
  else
    redis.call('ZREM', due, id)
  end
end
return taken
