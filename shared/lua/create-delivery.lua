-- The outbox step: turns the announcement of an ended job, batch or disabled endpoint into its events and deliveries, once.
-- Who comes second finds no announcement and does nothing. The record's own copy of its webhook is erased in the same step.
-- News of what goes on have no announcement: each delivery is made unless it is there.
-- KEYS: announce, record of the job or batch, index of events, index of deliveries, then an event each
-- ARGV: now_ms ('' = Redis TIME), settings, announced id ('' = news), id of the job that deliveries hold ('' = none), ms
--       until the first try, ms until it is given up, ms that events are kept, number of events, number of deliveries; for
--       each event its id, the number of values and field, value, ...; for each delivery its id, target, forced (1 | 0), the
--       key of its endpoint's index ('' = none), the number of values and field, value, ...
-- Output: {'announced'} | {'created', {delivery, number of try, tenant, target} to be enqueued, ...}
-- @include now
-- @include delivery-settings
-- @include feed-target
-- @include write-event
local announce, record, event_index, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local announced, job, wait, lifetime, event_ttl = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local events, deliveries, at = tonumber(ARGV[8]), tonumber(ARGV[9]), 10

local function next_values(head)
  local from = at + head + 1
  at = from + tonumber(ARGV[from - 1])
  return { unpack(ARGV, from, at - 1) }
end

if announced ~= '' then
  if redis.call('ZREM', announce, announced) == 0 then return { 'announced' } end
  redis.call('HDEL', record, 'hook')
end
for number = 1, events do
  local id = ARGV[at]
  write_event(KEYS[4 + number], event_index, id, event_ttl, next_values(1))
end
local made, targets, forced = 0, {}, {}
for _ = 1, deliveries do
  local id, target, is_forced, endpoint_index = ARGV[at], ARGV[at + 1], ARGV[at + 2] == '1', ARGV[at + 3]
  local values = next_values(4)
  if redis.call('HSETNX', set.delivery .. id, 'state', 'pending') == 1 then
    redis.call('HSET', set.delivery .. id, 'target', target, 'attempts', 0, 'created', now, 'due', now + wait, unpack(values))
    redis.call('ZADD', set.deliveries_due, now + lifetime, id)
    redis.call('ZADD', index, now, id)
    if endpoint_index ~= '' then redis.call('ZADD', endpoint_index, now, id) end
    if job ~= '' then redis.call('HSET', set.delivery .. id, 'holds', 1) end
    -- What is forced stands before all others.
    redis.call('ZADD', set.due .. target, is_forced and 0 or now + wait, id)
    if forced[target] == nil then targets[#targets + 1] = target end
    forced[target], made = is_forced, made + 1
  end
end
if job ~= '' and made > 0 and redis.call('EXISTS', set.job .. job) == 1 then
  redis.call('HINCRBY', set.job .. job, 'telling', made)
end
local out = { 'created' }
for _, target in ipairs(targets) do feed_target(target, forced[target], out) end
return out
