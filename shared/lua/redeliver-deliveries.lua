-- Sends deliveries of a tenant again, under the same event ids and with all of their tries before them.
-- 'one': the one that is named, whatever its state; it goes before all others, also to a target that fails.
-- 'lost': those of one target that were not delivered, oldest first; the target starts anew, at the rate after an outage.
-- KEYS: deliveries due (it is written as a setting says, and named here so that a cluster knows whom to ask)
-- ARGV: now_ms ('' = Redis TIME), settings, tenant, 'one' | 'lost', ms until they are given up, prefix of event keys,
--       then delivery ids
-- Output: {number that is sent again, 'pending' | 'left' | 'erased' | 'unknown' of the last, {delivery, number of try, tenant,
--         target} to be enqueued, ...}
-- @include now
-- @include delivery-settings
-- @include feed-target
local tenant, is_one, lifetime, event_prefix = ARGV[3], ARGV[4] == 'one', tonumber(ARGV[5]), ARGV[6]

local function can_be_sent(record)
  if record[4] then return true end
  return not record[5] and redis.call('EXISTS', event_prefix .. record[6]) == 1
end

local function place(id, record)
  if redis.call('ZSCORE', set.flight .. record[3], id) then return end
  redis.call('HSET', set.delivery .. id, 'due', is_one and now or record[7])
  redis.call('ZADD', set.due .. record[3], is_one and 0 or record[7], id)
end

local function again(id)
  local delivery = set.delivery .. id
  local record = redis.call('HMGET', delivery, 'state', 'tenant', 'target', 'body', 'own', 'event_id', 'created', 'attempts',
    'test')
  if record[2] ~= tenant then return 'unknown' end
  if not is_one and (record[1] == 'delivered' or record[9]) then return 'left' end
  if record[1] ~= 'pending' then
    if not can_be_sent(record) then return 'erased' end
    redis.call('HSET', delivery, 'state', 'pending', 'before', record[8])
    redis.call('PERSIST', delivery)
    redis.call('ZADD', set.deliveries_due, now + lifetime, id)
  end
  place(id, record)
  return 'pending', record[3]
end

local out, count, target = { 0, 'unknown' }, 0, nil
for index = 7, #ARGV do
  local said, its_target = again(ARGV[index])
  out[2] = said
  if said == 'pending' then count, target = count + 1, its_target end
end
out[1] = count
if target and not is_one then
  redis.call('HDEL', set.target .. target, 'failures', 'failing_since', 'closings', 'closed_until', 'rests_until')
  redis.call('HSET', set.target .. target, 'ramp_from', now, 'ramp_next', now)
  redis.call('PEXPIRE', set.target .. target, set.target_ttl)
end
if target then feed_target(target, is_one, out) end
return out
