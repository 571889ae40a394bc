-- Writes the record of a new job, once per idempotency key, and gives it its place: parked until its start time, straight
-- into the window when there is room for its tenant, else in its owner's waiting set. Safe to send twice: a connection
-- that broke may have cut the first reply off, so a record that is there already is answered as made just now.
-- KEYS: job, idempotency, index, window, busy, tenants, owners, waiting, due, parked, slots
-- ARGV: now_ms ('' = Redis TIME), id, tenant, owner, body hash ('' = no idempotency key), idempotency TTL ms beyond the
--       deadline, delay ms, expires_in ms, priority class (0 high, 1 normal, 2 low), ms after which a queue entry that nobody claimed
--       is looked for, then field, value, ... of the record
-- Output: {'created', generation to enqueue or 0 = it waits, created ms} | {'replayed', id} | {'mismatch'}
local job, idem, index, window, busy = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tenants, owners, waiting = KEYS[6], KEYS[7], KEYS[8]
local due, parked, slots_key = KEYS[9], KEYS[10], KEYS[11]
local id, tenant, owner, body_hash = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local delay, expires_in, class = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local starts, deadline = now + delay, now + delay + expires_in

local made = redis.call('HMGET', job, 'generation', 'created')
if made[1] then return { 'created', tonumber(made[1]), tonumber(made[2]) } end

if body_hash ~= '' then
  local known = redis.call('GET', idem)
  if known then
    local known_id, known_hash = string.match(known, '^(%S+) (%S+)$')
    if known_hash ~= body_hash then return { 'mismatch' } end
    return { 'replayed', known_id }
  end
  redis.call('SET', idem, id .. ' ' .. body_hash, 'PX', deadline - now + tonumber(ARGV[6]))
end

-- Room for this tenant: below half of the slots always; above it only while nobody waits, and never, this job counted
-- in, the last 15%.
local state, generation = 'waiting', 0
if delay > 0 then
  state = 'delayed'
else
  local slots = tonumber(redis.call('GET', slots_key)) or 0
  local total = redis.call('ZCARD', window)
  local mine = tonumber(redis.call('HGET', busy, tenant)) or 0
  local has_room = mine < math.max(1, slots / 2) or (total + 1 <= slots * 0.85 and redis.call('LLEN', tenants) == 0)
  if has_room and total < slots + 32 and redis.call('LLEN', owners) == 0 then generation = 1 end
end

redis.call('HSET', job, 'status', 'queued', 'tenant', tenant, 'owner', owner, 'class', class, 'created', now,
  'starts', starts, 'deadline', deadline, 'generation', generation, 'queue_state', state, unpack(ARGV, 11))
redis.call('ZADD', index, now, id)
redis.call('ZADD', due, deadline, id)
if state == 'delayed' then
  redis.call('HSET', job, 'next_at', starts)
  redis.call('ZADD', parked, starts, id)
elseif generation == 1 then
  redis.call('ZADD', window, now + tonumber(ARGV[10]), id)
  redis.call('HINCRBY', busy, tenant, 1)
else
  redis.call('ZADD', waiting, class * 1e14 + now, id)
  if redis.call('ZCARD', waiting) == 1 and redis.call('RPUSH', owners, owner) == 1 then
    redis.call('RPUSH', tenants, tenant)
  end
end
return { 'created', generation, now }
