-- Says that a worker lives and how many slots it has, forgets workers that fell silent, and sums the slots of the rest.
-- KEYS: workers, worker slots, slots
-- ARGV: now_ms ('' = Redis TIME), worker id, slots (0 = it leaves), ms of silence after which a worker counts as gone
-- Output: slots of all live workers
local workers, worker_slots, slots_key = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- @include when-full
go_on_when_full(workers)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', workers, '-inf', now - tonumber(ARGV[4]))) do
  redis.call('ZREM', workers, gone)
  redis.call('HDEL', worker_slots, gone)
end
if tonumber(ARGV[3]) > 0 then
  redis.call('ZADD', workers, now, ARGV[2])
  redis.call('HSET', worker_slots, ARGV[2], ARGV[3])
else
  redis.call('ZREM', workers, ARGV[2])
  redis.call('HDEL', worker_slots, ARGV[2])
end
local sum = 0
for _, slots in ipairs(redis.call('HVALS', worker_slots)) do sum = sum + tonumber(slots) end
redis.call('SET', slots_key, sum)
return sum
