-- Ends a job, once: writes its terminal state and result, erases its credentials in the same step, frees its place in the
-- window, registers its event, and tells whoever waits. The first complete result of any claim counts, whoever holds the
-- job now; any other end needs the current token, or ('free') that no live claim holds it.
-- KEYS: job, leases, fed, deadlines, parked, window, busy, announce, waiting, owners, tenants, idempotency, expiring
-- ARGV: now_ms ('' = Redis TIME), id, tenant, owner, by ('complete' | 'claim' | 'free'), token, terminal status, retention ms,
--       idempotency retention ms ('' = no key), channel, fields to erase joined by spaces, then field, value, ... to write
-- Output: {'settled', tenants with waiting jobs} | {'ended', status it already has} | {'fenced'} | {'held'} | {'gone'}
local job, leases, fed, deadlines, parked = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local window, busy, announce = KEYS[6], KEYS[7], KEYS[8]
local waiting, owners, tenants, idem, expiring = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local id, tenant, owner, by, token, status = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', job, 'status', 'token')
local current = record[1]
if not current then return { 'gone' } end
if current ~= 'queued' and current ~= 'in_progress' and current ~= 'cancelling' then return { 'ended', current } end
if by == 'claim' and record[2] ~= token then return { 'fenced' } end
if by == 'free' and (tonumber(redis.call('ZSCORE', leases, id)) or 0) > now then return { 'held' } end

redis.call('HSET', job, 'status', status, 'ended', now, unpack(ARGV, 12))
for field in string.gmatch(ARGV[11], '%S+') do redis.call('HDEL', job, field) end
if redis.call('HEXISTS', job, 'hook') == 1 then redis.call('ZADD', announce, now, id) end
redis.call('ZREM', leases, id)
redis.call('ZREM', fed, id)
redis.call('ZREM', deadlines, id)
redis.call('ZREM', parked, id)
if redis.call('HDEL', window, id) == 1 and redis.call('HINCRBY', busy, tenant, -1) <= 0 then
  redis.call('HDEL', busy, tenant)
end
if redis.call('ZREM', waiting, id) == 1 and redis.call('ZCARD', waiting) == 0 then
  redis.call('LREM', owners, 0, owner)
  if redis.call('LLEN', owners) == 0 then redis.call('LREM', tenants, 0, tenant) end
end
-- The sweeper forgets it when due; the key's own TTL stands behind that.
redis.call('ZADD', expiring, now + ARGV[8], id)
redis.call('PEXPIRE', job, ARGV[8] + 600000)
if ARGV[9] ~= '' then redis.call('PEXPIRE', idem, ARGV[9]) end
redis.call('PUBLISH', ARGV[10], id)
return { 'settled', redis.call('LLEN', tenants) }
