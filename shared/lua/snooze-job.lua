-- Puts a claimed job back for later without ending it: it frees its place in the window and stands parked until due.
-- KEYS: job, window, parked, busy, tenants
-- ARGV: now_ms ('' = Redis TIME), id, tenant, token, ms to wait, queue state, then field, value, ... to write
-- Output: {'snoozed', tenants with waiting jobs} | {'fenced'} | {'cancelling'}
local job, window, parked, busy, tenants = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, tenant = ARGV[2], ARGV[3]
-- @include now
-- @include count-busy
local record = redis.call('HMGET', job, 'status', 'token', 'deadline', 'owner', 'accounts')
if record[2] ~= ARGV[4] then return { 'fenced' } end
if record[1] == 'cancelling' then return { 'cancelling' } end
if record[1] ~= 'in_progress' then return { 'fenced' } end
local due = math.min(now + tonumber(ARGV[5]), tonumber(record[3]))
redis.call('HSET', job, 'status', 'queued', 'queue_state', ARGV[6], 'next_at', due, unpack(ARGV, 7))
redis.call('HDEL', job, 'token')
-- The entry it came with is used up: should BullMQ hand it out once more, it is stale.
redis.call('HINCRBY', job, 'generation', 1)
redis.call('ZADD', parked, due, id)
if redis.call('ZREM', window, id) == 1 then count_busy(tenant, record[4], record[5], -1) end
return { 'snoozed', redis.call('LLEN', tenants) }
