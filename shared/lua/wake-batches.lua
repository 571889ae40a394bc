-- Batches with parked lines whose time has come stand in line again. They are named by what the sets hold, hence the prefixes.
-- KEYS: parked due, tenants
-- ARGV: now_ms ('' = Redis TIME), batches at most, prefixes of: batches, chunks, parked lines, owner rings, waiting sets
-- Output: tenants with batches that wait
local parked_due, tenants = KEYS[1], KEYS[2]
-- @include now
-- @include batch-room
for _, id in ipairs(redis.call('ZRANGE', parked_due, '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[2]))) do
  local parked = ARGV[5] .. id
  local facts = redis.call('HMGET', ARGV[3] .. id, 'status', 'ending', 'tenant', 'owner', 'class', 'inflight', 'concurrency')
  local following = redis.call('ZRANGE', parked, string.format('(%.0f', now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if following[2] then
    redis.call('ZADD', parked_due, following[2], id)
  else
    redis.call('ZREM', parked_due, id)
  end
  -- One that is at its own limit is offered again when a line of it settles.
  if facts[1] == 'in_progress' and not facts[2] and own_room(facts[6], facts[7]) > 0 and redis.call('ZCOUNT', parked, '-inf', now) > 0 then
    local tenant, owner = facts[3], facts[4]
    local owners, waiting = ARGV[6] .. tenant, ARGV[7] .. tenant .. ':' .. owner
    local is_new = redis.call('ZADD', waiting, 'NX', facts[5] * 1e14 + now, id) == 1
    if is_new and redis.call('ZCARD', waiting) == 1 and redis.call('RPUSH', owners, owner) == 1 then
      redis.call('RPUSH', tenants, tenant)
    end
  end
end
return redis.call('LLEN', tenants)
