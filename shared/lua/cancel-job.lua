-- Asks for a job's end. A running one becomes `cancelling` and its worker is told; one that no worker holds is left to the
-- caller, who settles it at once. When its owner wants it gone, nobody finds a running one from here on: what it holds and its
-- place in lists are erased, and settle-job lets the record go as soon as its worker does.
-- KEYS: job, window, index of its tenant, stream
-- ARGV: now_ms ('' = Redis TIME), id, channel, to be gone ('1' | '0')
-- Output: 'gone' | 'ended' | 'free' (settle it) | 'cancelling' (its worker will)
local job, window, id = KEYS[1], KEYS[2], ARGV[2]
-- @include now
local status = redis.call('HGET', job, 'status')
if not status then return 'gone' end
if status ~= 'queued' and status ~= 'in_progress' and status ~= 'cancelling' then return 'ended' end
if status == 'queued' or (tonumber(redis.call('ZSCORE', window, id)) or 0) <= now then return 'free' end
redis.call('HSET', job, 'status', 'cancelling')
redis.call('HSETNX', job, 'cancelling_at', now)
if ARGV[4] == '1' then
  redis.call('HSET', job, 'deleted', now)
  redis.call('HDEL', job, 'req', 'cred', 'kept', 'asked', 'hook')
  redis.call('ZREM', KEYS[3], id)
  redis.call('UNLINK', KEYS[4])
end
redis.call('PUBLISH', ARGV[3], id)
return 'cancelling'
