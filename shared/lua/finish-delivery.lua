-- Notes how a try of a delivery went and what follows, and what it says of its target; then sends off what the target may be
-- sent next. Accepted counts from any try; everything else needs the current claim. A job's record is kept while one of its
-- deliveries goes on. A batch's is kept long enough by itself.
-- KEYS: delivery
-- ARGV: now_ms ('' = Redis TIME), settings, delivery id, token, target, state, ms until the next try ('pending'), number of
--       the try, what is noted of it, verdict on the target ('accepted' | 'failed' | ''), ms for which it wants to be left alone
-- Output: {'noted' | 'ended' | 'fenced', ms for which there was nothing but failures, {delivery, number of try, tenant,
--         target} to be enqueued, ...}
-- @include now
-- @include delivery-settings
-- @include feed-target
local delivery, id, token, target, state, wait = KEYS[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local verdict, rest = ARGV[10], tonumber(ARGV[11])
local record = redis.call('HMGET', delivery, 'state', 'token', 'holds', 'subject')
if record[1] ~= 'pending' then return { 'ended', 0 } end
if record[2] ~= token and state ~= 'delivered' then return { 'fenced', 0 } end

redis.call('HSET', delivery, 'a' .. ARGV[8], ARGV[9])
redis.call('ZREM', set.flight .. target, id)
redis.call('ZREM', set.due .. target, id)
local failing = 0
if verdict == 'accepted' then note_accepted(target) end
if verdict == 'failed' then failing = note_failed(target) end
if rest > 0 then rest_target(target, rest) end
if state == 'pending' then
  redis.call('HDEL', delivery, 'token', 'lease')
  redis.call('HSET', delivery, 'due', now + wait)
  redis.call('ZADD', set.due .. target, now + wait, id)
  local expires = record[3] and tonumber(redis.call('HGET', set.job .. record[4], 'expires') or nil)
  if expires and expires < now + wait + set.job_retention then keep_job(record[4], wait + set.job_retention) end
else
  end_delivery(id, state)
end
local out = { 'noted', failing }
feed_target(target, false, out)
return out
