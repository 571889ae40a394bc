-- Gives a job to one worker under a new token, and returns what it needs to run it. Never takes a job
-- whose claim has a live lease, nor runs an entry of an older enqueue generation.
-- KEYS: job, window
-- ARGV: now_ms ('' = Redis TIME), id, generation, token, lease ms, then the record fields to return
-- Output: {'claimed', now_ms, crashes, field, field, ...} (crashes: claims that ended without a word, this one's
--         predecessor included) | {'gone'} | {'ended'} | {'stale'} | {'held'} | {'cancelled'} | {'expired'}
local job, window = KEYS[1], KEYS[2]
local id, generation, token, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local record = redis.call('HMGET', job, 'status', 'generation', 'deadline', 'crashes', 'started')
local status = record[1]
if not status then return { 'gone' } end
if status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then return { 'ended' } end
if record[2] ~= generation then return { 'stale' } end
if status ~= 'queued' and (tonumber(redis.call('ZSCORE', window, id)) or 0) > now then return { 'held' } end
if status == 'cancelling' then return { 'cancelled' } end
if tonumber(record[3]) <= now then return { 'expired' } end

local crashes = tonumber(record[4]) or 0
if status == 'in_progress' then crashes = crashes + 1 end
redis.call('HSET', job, 'status', 'in_progress', 'token', token, 'started', record[5] or now)
if crashes > 0 then redis.call('HSET', job, 'crashes', crashes) end
redis.call('ZADD', window, now + lease, id)
return { 'claimed', now, crashes, unpack(redis.call('HMGET', job, unpack(ARGV, 6))) }
