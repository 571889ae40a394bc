-- Writes a new job, once per idempotency key, within the limits of its tenant and customer, and gives it its place: parked
-- until its start time, straight into the window when there is room, else in its owner's waiting set. Safe to send twice: a
-- record that is there already is answered as made just now. A call that is sent again finds the job that it made before.
-- KEYS: job, idempotency, index, window, busy, tenants, owners, waiting, due, parked, slots, concurrency, lines in flight,
--       jobs of the same call, the ended job that it runs again (itself: none)
-- ARGV: now_ms ('' = Redis TIME), id, tenant, owner, body hash ('' = no idempotency key), idempotency TTL ms beyond the
--       deadline, delay ms, expires_in ms, priority class (0 high, 1 normal, 2 low), ms after which a queue entry that nobody claimed
--       is looked for, '' | 'register' | 'again' (a call with this fingerprint), prefix of accounts, accounts it counts in (1 | 2),
--       its bytes, bytes kept free for its result, micro USD held for it, limits as JSON ('' = none), prefix of records,
--       then field, value, ... of the record
-- Output: {'created', generation to enqueue or 0 = it waits, created ms, slots, requests of the minute: tenant's, customer's} |
--         {'replayed', id} | {'attached', id} | {'retried', id of the job that runs it again already} | {'mismatch'} |
--         {'refused', 'tenant' | 'customer', limit, ms to wait, requests of the minute: tenant's, customer's, ms of now}
local job, idem, index, window, busy = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local tenants, owners, waiting, due, parked = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local concurrency, batch_busy, orphans = KEYS[12], KEYS[13], KEYS[14]
local slots = tonumber(redis.call('GET', KEYS[11])) or 0
local id, tenant, owner, body_hash, class = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[9])
local accounts_count, bytes, reserved, held = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[16])
-- @include now
-- @include account
-- @include admit
-- @include room-of
-- @include count-busy
-- @include same-call
local starts, deadline = now + ARGV[7], now + ARGV[7] + ARGV[8]

local made = redis.call('HMGET', job, 'generation', 'created', 'times')
local made_at = made[2] or made[3] and string.match(made[3], '^%d+')
if made_at then return { 'created', tonumber(made[1]) or 0, tonumber(made_at), slots, 0, 0 } end
local known = same_call(ARGV[11])
if known then return { 'attached', known } end
if body_hash ~= '' then
  known = redis.call('GET', idem)
  if known then
    local known_id, known_hash = string.match(known, '^(%S+) (%S+)$')
    if known_hash ~= body_hash then return { 'mismatch' } end
    return { 'replayed', known_id }
  end
end
local retried = KEYS[15] ~= job and KEYS[15]
known = retried and redis.call('HGET', retried, 'retried_by')
if known and redis.call('EXISTS', ARGV[18] .. known) == 1 then return { 'retried', known } end

-- Whoever waits in its owner's line goes first.
local state, generation = 'waiting', 0
if starts > now then
  state = 'delayed'
else
  local total = redis.call('ZCARD', window)
  local has_room = tenant_has_room(tenant, total, redis.call('LLEN', tenants) == 0) and owner_has_room(tenant, owner)
  if has_room and total < slots + 32 and redis.call('LLEN', owners) == 0 then generation = 1 end
end

local accounts = accounts_of(ARGV[12], tenant, owner, accounts_count)
local limits = ARGV[17] ~= '' and cjson.decode(ARGV[17]) or {}
local fields = { tenant, tenant .. ' ' .. owner }
local refusal = refused(accounts, limits, function(at) return generation == 0 and busy_of(fields[at]) end, bytes + reserved, held)
if refusal then return refusal end
-- @include write-job
