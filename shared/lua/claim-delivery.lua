-- Takes a delivery for one try: of two workers one gets it. Its lease on the way to its target is prolonged, so a try that
-- nobody finishes comes back by itself, with the next number.
-- KEYS: delivery
-- ARGV: now_ms ('' = Redis TIME), settings, delivery id, token, lease ms, prefix of event keys, most tries that are kept
-- Output: {'claimed', number of the try, tries before this round, tenant, id of job or batch, event id, target,
--         '1' for a test, sealed text of its own or '', sealed text of the event or '', sealed hook or '', ms that it is late,
--         type of the event, where its trace goes on or ''}
--         | {'early'} | {'ended'} | {'gone'}
-- @include now
-- @include delivery-settings
local delivery, id, token, lease = KEYS[1], ARGV[3], ARGV[4], tonumber(ARGV[5])
local record = redis.call('HMGET', delivery, 'state', 'lease', 'target', 'tenant', 'subject', 'event_id', 'test', 'body',
  'hook', 'before', 'due', 'type', 'trace')
if record[1] ~= 'pending' then return { record[1] and 'ended' or 'gone' } end
local flight = set.flight .. record[3]
-- Not on its way any more: its entry came late, and it waits for its turn again.
if (tonumber(record[2] or nil) or 0) > now or not redis.call('ZSCORE', flight, id) then return { 'early' } end
local number = redis.call('HINCRBY', delivery, 'attempts', 1)
redis.call('HSET', delivery, 'token', token, 'lease', now + lease, 'a' .. number, string.format('%.0f', now))
redis.call('HDEL', delivery, 'a' .. (number - tonumber(ARGV[7])))
redis.call('ZADD', flight, now + lease, id)
local event = record[8] and '' or redis.call('HGET', ARGV[6] .. record[6], 'body') or ''
return { 'claimed', number, tonumber(record[10] or nil) or 0, record[4], record[5], record[6], record[3], record[7] or '',
  record[8] or '', event, record[9] or '', math.max(0, math.floor(now - (tonumber(record[11] or nil) or now))),
  record[12] or '', record[13] or '' }
