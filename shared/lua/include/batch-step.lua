-- A step on one batch: its keys, its room, its place among those that wait, its end. Needs: now, unclaimed_ms
local batch, chunk, lines, done, order = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local line_keys, parked, parked_due, window, busy = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local tenants, owners, waiting, finish = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local id, number = ARGV[2], ARGV[3]
local tenant, owner = unpack(redis.call('HMGET', batch, 'tenant', 'owner'))

local function is_over(status)
  return not status or status == 'completed' or status == 'failed' or status == 'expired' or status == 'cancelled'
end

-- @include batch-room
-- Stands in its owner's line of batches while it has lines to run and room for them.
local function offer()
  local facts = redis.call('HMGET', batch, 'status', 'ending', 'cursor', 'total', 'inflight', 'concurrency', 'class',
    'settled')
  if facts[1] ~= 'in_progress' or facts[2] or own_room(facts[5], facts[6]) == 0 then return end
  if not has_lines(parked, tonumber(facts[3]), tonumber(facts[4]), tonumber(facts[8])) then return end
  if redis.call('ZADD', waiting, 'NX', facts[7] * 1e14 + now, id) == 0 or redis.call('ZCARD', waiting) > 1 then return end
  if redis.call('RPUSH', owners, owner) == 1 then redis.call('RPUSH', tenants, tenant) end
end

local function withdraw()
  if redis.call('ZREM', waiting, id) == 0 or redis.call('ZCARD', waiting) > 0 then return end
  redis.call('LREM', owners, 0, owner)
  if redis.call('LLEN', owners) == 0 then redis.call('LREM', tenants, 0, tenant) end
end

-- Lines leave the chunk; with the last of them it is gone.
local function leave(count)
  local facts = redis.call('HMGET', chunk, 'open', 'width')
  if not facts[1] or count == 0 then return end
  local open, width = tonumber(facts[1]), tonumber(facts[2])
  local freed = math.min(open, width) - math.min(open - count, width)
  if freed > 0 then
    redis.call('HINCRBY', batch, 'inflight', -freed)
    redis.call('HINCRBY', busy, '*', -freed)
    for _, field in ipairs({ tenant, tenant .. ' ' .. owner }) do
      if redis.call('HINCRBY', busy, field, -freed) <= 0 then redis.call('HDEL', busy, field) end
    end
  end
  if open > count then return redis.call('HSET', chunk, 'open', open - count) end
  redis.call('UNLINK', chunk)
  redis.call('ZREM', window, id .. ' ' .. number)
  redis.call('HINCRBY', batch, 'live', -1)
end

-- With nothing in flight and nothing to come it is to be finished. Output: 1 when that is to be enqueued, else 0
local function check_end()
  local facts = redis.call('HMGET', batch, 'status', 'ending', 'live', 'settled', 'total')
  if is_over(facts[1]) or tonumber(facts[3]) > 0 then return 0 end
  if not facts[2] and tonumber(facts[4]) < tonumber(facts[5]) then return 0 end
  withdraw()
  if facts[1] ~= 'cancelling' then redis.call('HSET', batch, 'status', 'finalizing') end
  redis.call('HSETNX', batch, 'finalizing_at', now)
  redis.call('HINCRBY', batch, 'live', 1)
  redis.call('HSET', finish, 'generation', 1, 'open', 1, 'width', 0)
  redis.call('ZADD', window, now + unclaimed_ms, id .. ' f')
  return 1
end
