-- Ends deliveries. Needs: now, set

-- As in settle-job: the sweeper forgets the job when due, the key's own TTL stands behind that.
local function keep_job(id, ms)
  redis.call('ZADD', set.jobs_due, now + ms, id)
  redis.call('PEXPIRE', set.job .. id, ms + 2592000000)
  redis.call('HSET', set.job .. id, 'expires', now + ms)
end

-- A job whose deliveries have all ended, of which one was accepted, is kept from now on for as long as its result is to be.
local function release_job(id, state, result_ttl)
  local job = set.job .. id
  if redis.call('HEXISTS', job, 'expires') == 0 then return end
  local left = redis.call('HINCRBY', job, 'telling', -1)
  if state == 'delivered' then redis.call('HSET', job, 'told', 1) end
  if left <= 0 and redis.call('HEXISTS', job, 'told') == 1 then keep_job(id, math.max(result_ttl, set.kept)) end
end

-- @param state other than 'pending'
local function end_delivery(id, state)
  local delivery = set.delivery .. id
  local record = redis.call('HMGET', delivery, 'subject', 'result_ttl', 'test')
  redis.call('HSET', delivery, 'state', state)
  -- What waits for it is counted once: a delivery that is sent again holds no job.
  local holds_job = redis.call('HDEL', delivery, 'holds') == 1
  redis.call('HDEL', delivery, 'due', 'token', 'lease')
  if state == 'delivered' then redis.call('HDEL', delivery, 'body') end
  redis.call('ZADD', set.deliveries_due, now + set.retention, id)
  redis.call('PEXPIRE', delivery, set.retention + 86400000)
  if holds_job then release_job(record[1], state, tonumber(record[2])) end
  if record[3] then redis.call('PUBLISH', set.channel, id) end
end

-- Nothing more is sent to an endpoint that was disabled or deleted.
local function end_waiting(id)
  if string.sub(id, 1, 4) == 'url_' or redis.call('HGET', set.endpoint .. id, 'disabled') == '' then return false end
  for _, waiting in ipairs(redis.call('ZRANGE', set.due .. id, 0, 99)) do
    redis.call('ZREM', set.due .. id, waiting)
    if redis.call('HGET', set.delivery .. waiting, 'state') == 'pending' then end_delivery(waiting, 'disabled') end
  end
  return true
end
