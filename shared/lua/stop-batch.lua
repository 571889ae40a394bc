-- Nothing new of a batch is to be started from now on: it was cancelled, or its time is over. Its workers are told; with nothing
-- in flight it is to be finished.
-- KEYS: those of a batch's step (include/batch-step), due
-- ARGV: now_ms ('' = Redis TIME), id, chunk (any), 'cancelled' | 'expired', ms after which an entry that nobody claimed is looked for,
--       channel, channel of stops, ms after which the sweeper looks again
-- Output: {'gone'} | {'ended'} | {'stopping', finish to be enqueued 1|0}
local unclaimed_ms = tonumber(ARGV[5])
-- @include now
-- @include batch-step
local status = redis.call('HGET', batch, 'status')
if not status then return { 'gone' } end
if is_over(status) then return { 'ended' } end
if redis.call('HSETNX', batch, 'ending', ARGV[4]) == 1 and ARGV[4] == 'cancelled' then
  redis.call('HSET', batch, 'status', 'cancelling', 'cancelling_at', now)
end
if ARGV[4] == 'expired' then redis.call('ZADD', KEYS[15], now + tonumber(ARGV[8]), id) end
withdraw()
redis.call('PUBLISH', ARGV[7], id)
redis.call('PUBLISH', ARGV[6], id)
return { 'stopping', check_end() }
