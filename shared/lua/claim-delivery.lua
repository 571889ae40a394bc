-- Takes a delivery for one try: of two workers one gets it. The lease is its due time set ahead, so a try that nobody
-- finishes comes back by itself, with the next number.
-- KEYS: delivery, due
-- ARGV: now_ms ('' = Redis TIME), delivery id, token, lease ms
-- Output: {'claimed', number of the try, tenant, id of job or batch, event id, sealed event, sealed hook} | {'early'} | {'ended'} | {'gone'}
local delivery, due = KEYS[1], KEYS[2]
local id, token, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', delivery, 'state', 'due', 'tenant', 'subject', 'event_id', 'event', 'hook')
if record[1] ~= 'pending' then
  redis.call('ZREM', due, id)
  return { record[1] and 'ended' or 'gone' }
end
if tonumber(record[2]) > now then return { 'early' } end
local number = redis.call('HINCRBY', delivery, 'attempts', 1)
local started = string.format('{"number":%d,"started_at":%.0f}', number, now)
redis.call('HSET', delivery, 'token', token, 'due', now + lease, 'a' .. number, started)
redis.call('ZADD', due, now + lease, id)
return { 'claimed', number, record[3], record[4], record[5], record[6], record[7] }
