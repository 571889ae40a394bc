-- Ends a job, once: its record is written anew with its terminal state and result, and with it go its credentials; frees its
-- place in the window, counts what it used, registers its event, and tells whoever waits. The first complete result of any claim
-- counts, whoever holds the job now; any other end needs the current token, or ('free') that no live claim holds it.
-- KEYS: job, window, due, parked, busy, announce, waiting, owners, tenants, idempotency, webhook endpoints of its tenant, usage news
-- ARGV: now_ms ('' = Redis TIME), id, tenant, owner, by ('complete' | 'claim' | 'free'), token, terminal status, retention ms,
--       idempotency retention ms ('' = no key), channel, number of fields that stay, these fields, attempts as lines,
--       prefix of accounts, micro USD it cost, what it used as JSON, '1' when endpoints of its tenant are told,
--       prefix of the channels of API processes, names of the fields that who holds its line is told,
--       bytes that a record takes beside its fields, then field, value, ... to write
-- Output: {'settled', tenants with waiting jobs, 1 when it is to be announced} | {'ended', status it already has} | {'fenced'} |
--         {'held'} | {'gone'}
local job, window, due, parked, busy, announce = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local waiting, owners, tenants, idem = KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local id, tenant, owner, by, token, status = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local retention, at = tonumber(ARGV[8]), 12 + tonumber(ARGV[11])
local attempts, prefix, cost, used, tells = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4]
-- @include now
-- @include account
-- @include count-busy
-- @include tell-caller
local record = redis.call('HMGET', job, 'status', 'token', 'hook', 'accounts', 'size', 'reserved', 'held', 'deleted', 'caller',
  'created', 'deadline', 'started', 'cancelling_at', 'starts')
local current = record[1]
if not current then return { 'gone' } end
if current ~= 'queued' and current ~= 'in_progress' and current ~= 'cancelling' then return { 'ended', current } end
if by == 'claim' and record[2] ~= token then return { 'fenced' } end
if by == 'free' and current ~= 'queued' and (tonumber(redis.call('ZSCORE', window, id)) or 0) > now then
  return { 'held' }
end
-- A claim that was overtaken knows only its own calls: they are added to what the newer one wrote, a later line wins. Who
-- knows of none leaves what is there.
if attempts == '' or record[2] ~= token then attempts = (redis.call('HGET', job, 'log') or '') .. attempts end

-- Its owner has deleted it: nobody is told of its end, and the sweeper forgets it at once.
if record[8] then retention, tells = 0, '0' end
local is_told = record[3] or tells == '1' and redis.call('EXISTS', KEYS[11]) == 1
-- @include ended-record
local written = ended_record()
-- To take all of it away and write what is left costs Redis less than to take out single fields, and packs it again, however
-- large its prompt was. It comes first, since that may be done in a Redis that is full, and all else then as well.
redis.call('DEL', job)
-- @include count-end
redis.call('HSET', job, 'size', size, unpack(written))
if is_told then redis.call('ZADD', announce, now, id) end
if redis.call('ZREM', window, id) == 1 then count_busy(tenant, owner, record[4], -1) end
if current == 'queued' then
  redis.call('ZREM', parked, id)
  if redis.call('ZREM', waiting, id) == 1 and redis.call('ZCARD', waiting) == 0 then
    redis.call('LREM', owners, 0, owner)
    if redis.call('LLEN', owners) == 0 then redis.call('LREM', tenants, 0, tenant) end
  end
end
-- The sweeper forgets it when due, and takes it out of what is counted and listed; the key's own TTL is for Redis alone.
redis.call('ZADD', due, now + retention, id)
redis.call('PEXPIRE', job, retention + 2592000000)
if ARGV[9] ~= '' then redis.call('PEXPIRE', idem, ARGV[9]) end
if record[9] then tell_caller(ARGV[at + 5] .. record[9], id, job, ARGV[at + 6]) end
redis.call('PUBLISH', ARGV[10], id)
return { 'settled', redis.call('LLEN', tenants), is_told and 1 or 0 }
