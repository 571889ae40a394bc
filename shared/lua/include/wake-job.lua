-- Moves one parked job back into its owner's waiting set, by priority and original age. Its record names that set.
-- Needs: parked, tenants, owners_prefix, waiting_prefix, job_prefix
local function wake_job(id, record)
  redis.call('ZREM', parked, id)
  if record[1] ~= 'queued' then return end
  local tenant, owner = record[2], record[3]
  local waiting, owners = waiting_prefix .. tenant .. ':' .. owner, owners_prefix .. tenant
  redis.call('HSET', job_prefix .. id, 'queue_state', 'waiting')
  redis.call('HDEL', job_prefix .. id, 'next_at')
  redis.call('ZADD', waiting, (tonumber(record[4]) or 1) * 1e14 + tonumber(record[5]), id)
  if redis.call('ZCARD', waiting) == 1 and redis.call('RPUSH', owners, owner) == 1 then
    redis.call('RPUSH', tenants, tenant)
  end
end

local function place_of(id)
  return redis.call('HMGET', job_prefix .. id, 'status', 'tenant', 'owner', 'class', 'created')
end
