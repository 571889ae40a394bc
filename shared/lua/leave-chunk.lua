-- Gives back lines that a worker has claimed and not run: they may be cut again at once, or are left for the end of a batch of
-- which nothing new is to be started.
-- KEYS: those of a batch's step (include/batch-step)
-- ARGV: now_ms ('' = Redis TIME), id, chunk, token, ms after which an entry that nobody claimed is looked for, prefix of
--       accounts, then lines
-- Output: {'left' | 'fenced', finish to be enqueued 1|0, tenants waiting}
local unclaimed_ms = tonumber(ARGV[5])
-- @include now
-- @include batch-step
-- @include account
-- @include hold-lines
if redis.call('HGET', chunk, 'token') ~= ARGV[4] then return { 'fenced', 0, 0 } end
local left, freed = 0, {}
for at = 7, #ARGV do
  if redis.call('HSETNX', chunk, 'x' .. ARGV[at], 1) == 1 then
    left = left + 1
    -- An earlier claim may have brought in its answer.
    if redis.call('GETBIT', done, ARGV[at]) == 0 then
      redis.call('ZADD', parked, now, ARGV[at])
      redis.call('ZADD', parked_due, 'LT', now, id)
      freed[#freed + 1] = ARGV[at]
    end
  end
end
count_money(ARGV[6], -take_held(freed), 0)
if left > 0 then leave(left) end
offer()
return { 'left', check_end(), redis.call('LLEN', tenants) }
