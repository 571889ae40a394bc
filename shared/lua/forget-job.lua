-- Forgets an ended job whose retention is over: the record, the stream of its answer, and its place in its tenant's index.
-- KEYS: job, index of its tenant, due, stream
-- ARGV: now_ms ('' = Redis TIME), id, now whatever its retention ('1' | '0')
-- Output: 1 when it was forgotten, 0 when it is not (or no longer) to be
local job, index, due, id = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local status = redis.call('HGET', job, 'status')
if status == 'queued' or status == 'in_progress' or status == 'cancelling' then return 0 end
local due_at = tonumber(redis.call('ZSCORE', due, id))
if due_at and due_at > now and ARGV[3] ~= '1' then return 0 end
redis.call('ZREM', index, id)
redis.call('ZREM', due, id)
redis.call('UNLINK', job, KEYS[4])
return 1
