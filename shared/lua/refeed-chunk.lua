-- Makes a new queue entry possible for a chunk whose entry is gone: never enqueued because the process died in between, or
-- dropped with the worker that held it. The old entry, should it turn up, is stale.
-- KEYS: chunk, window
-- ARGV: now_ms ('' = Redis TIME), '<batch> <chunk>', generation that was looked for, ms after which the new entry is looked for
-- Output: the new generation, or 0 when there is nothing to do (ended, claimed, or already fed anew)
local chunk, window, member = KEYS[1], KEYS[2], ARGV[2]
-- @include now
local facts = redis.call('HMGET', chunk, 'generation', 'token')
if not facts[1] then
  redis.call('ZREM', window, member)
  return 0
end
local overdue_at = tonumber(redis.call('ZSCORE', window, member))
if facts[1] ~= ARGV[3] or not overdue_at or overdue_at > now then return 0 end
-- A chunk whose worker was lost has no lease to respect: the claim of its new entry must not be told to wait.
redis.call('ZADD', window, facts[2] and now or now + tonumber(ARGV[4]), member)
return redis.call('HINCRBY', chunk, 'generation', 1)
