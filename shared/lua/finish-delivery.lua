-- Notes how a try of a delivery went and what follows. Accepted counts from any try; everything else needs the current
-- claim. A job's record is kept while its delivery goes on, and from the first acceptance for as long as its result
-- is to be kept. A batch's is kept long enough by itself.
-- KEYS: delivery, due, job (of a batch's delivery a key that is not there), jobs due
-- ARGV: now_ms ('' = Redis TIME), delivery id, token, state ('pending' | 'delivered' | 'exhausted' | 'gone'),
--       ms until the next try ('pending'), retention ms of the delivery, least ms an accepted job is kept, number of the try, its JSON
-- Output: 'noted' | 'ended' | 'fenced'
local delivery, due, job, jobs_due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, token, state, wait = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local retention, kept = tonumber(ARGV[6]), tonumber(ARGV[7])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', delivery, 'state', 'token', 'result_ttl', 'subject')
if record[1] ~= 'pending' then return 'ended' end
if record[2] ~= token and state ~= 'delivered' then return 'fenced' end

local function keepJob(ms)
  -- As in settle-job: the sweeper forgets it when due, the key's own TTL stands behind that.
  redis.call('ZADD', jobs_due, now + ms, record[4])
  redis.call('PEXPIRE', job, ms + 600000)
  redis.call('HSET', job, 'expires', now + ms)
end

redis.call('HSET', delivery, 'a' .. ARGV[8], ARGV[9], 'state', state)
redis.call('HDEL', delivery, 'token')
local expires = tonumber(redis.call('HGET', job, 'expires') or nil)
if state == 'pending' then
  redis.call('HSET', delivery, 'due', now + wait)
  redis.call('ZADD', due, now + wait, id)
  if expires and expires < now + wait + retention then keepJob(wait + retention) end
  return 'noted'
end
redis.call('ZREM', due, id)
redis.call('HDEL', delivery, 'due')
redis.call('PEXPIRE', delivery, retention)
if state == 'delivered' then
  redis.call('HDEL', delivery, 'event', 'hook')
  if expires then keepJob(math.max(tonumber(record[3]), kept)) end
end
return 'noted'
