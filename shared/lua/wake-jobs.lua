-- Moves parked jobs whose time has come back into their owners' waiting sets, by priority and original age. Their records
-- name those sets, hence the prefixes.
-- KEYS: parked, tenants
-- ARGV: now_ms ('' = Redis TIME), jobs at most, prefix of owner rings, prefix of waiting sets, prefix of records
-- Output: {jobs woken, tenants with waiting jobs, ms until the next parked job is due or -1}
local parked, tenants = KEYS[1], KEYS[2]
local owners_prefix, waiting_prefix, job_prefix = ARGV[3], ARGV[4], ARGV[5]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local due = redis.call('ZRANGEBYSCORE', parked, '-inf', now, 'LIMIT', 0, tonumber(ARGV[2]))
for _, id in ipairs(due) do
  redis.call('ZREM', parked, id)
  local record = redis.call('HMGET', job_prefix .. id, 'status', 'tenant', 'owner', 'class', 'created')
  if record[1] == 'queued' then
    local tenant, owner = record[2], record[3]
    local waiting, owners = waiting_prefix .. tenant .. ':' .. owner, owners_prefix .. tenant
    redis.call('HSET', job_prefix .. id, 'queue_state', 'waiting')
    redis.call('HDEL', job_prefix .. id, 'next_at')
    redis.call('ZADD', waiting, tonumber(record[4]) * 1e14 + tonumber(record[5]), id)
    if redis.call('ZCARD', waiting) == 1 and redis.call('RPUSH', owners, owner) == 1 then
      redis.call('RPUSH', tenants, tenant)
    end
  end
end
local following = redis.call('ZRANGE', parked, 0, 0, 'WITHSCORES')
local wait = following[2] and math.max(0, tonumber(following[2]) - now) or -1
return { #due, redis.call('LLEN', tenants), wait }
