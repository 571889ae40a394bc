-- Ends deliveries whose time is over and forgets those whose retention is; or, by name, those of a tenant that have ended.
-- KEYS: deliveries due
-- ARGV: now_ms ('' = Redis TIME), settings, most at once, prefix of tenants' indexes, prefix of endpoints' indexes,
--       then ids (none = those that are due)
-- Output: {number looked at, number forgotten}
-- @include now
-- @include delivery-settings
-- @include end-delivery
local busy_ms = 60000
local is_named, forgotten = #ARGV > 5, 0
local ids = is_named and { unpack(ARGV, 6) }
  or redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[3]))

local function give_up(id, target)
  if redis.call('ZSCORE', set.flight .. target, id) then
    redis.call('ZADD', KEYS[1], now + busy_ms, id)
    return
  end
  redis.call('ZREM', set.due .. target, id)
  end_delivery(id, 'exhausted')
end

for _, id in ipairs(ids) do
  local record = redis.call('HMGET', set.delivery .. id, 'state', 'tenant', 'target')
  if record[1] == 'pending' then
    if not is_named then give_up(id, record[3]) end
  else
    redis.call('DEL', set.delivery .. id)
    redis.call('ZREM', KEYS[1], id)
    if record[2] then
      redis.call('ZREM', ARGV[4] .. record[2], id)
      redis.call('ZREM', ARGV[5] .. record[3], id)
    end
    forgotten = forgotten + 1
  end
end
return { #ids, forgotten }
