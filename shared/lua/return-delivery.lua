-- Hands a claimed delivery back without a try: its count, its note and its token are taken away again.
-- KEYS: delivery, due
-- ARGV: now_ms ('' = Redis TIME), delivery id, token, ms after which it is due
-- Output: 'returned' | 'fenced'
local delivery, due = KEYS[1], KEYS[2]
local id, token, wait = ARGV[2], ARGV[3], tonumber(ARGV[4])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', delivery, 'state', 'token', 'attempts')
if record[1] ~= 'pending' or record[2] ~= token then return 'fenced' end
redis.call('HDEL', delivery, 'token', 'a' .. record[3])
redis.call('HSET', delivery, 'attempts', record[3] - 1, 'due', now + wait)
redis.call('ZADD', due, now + wait, id)
return 'returned'
