-- Takes the next job out of a tenant's lines. Needs: waiting_prefix, turns, room-of
-- Of thirteen turns of an owner that has waiting jobs of all three, eight are for high, four for normal and one for low.
local SHARES = { 0, 0, 1, 0, 0, 1, 0, 0, 1, 2, 0, 0, 1 }

local function first_of(waiting, class)
  return redis.call('ZRANGE', waiting, class * 1e14, (class + 1) * 1e14 - 1, 'BYSCORE', 'LIMIT', 0, 1)[1]
end

local function take_next(waiting, owner)
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  local last = redis.call('ZRANGE', waiting, -1, -1, 'WITHSCORES')
  local id = first[1]
  if not id then return nil end
  if math.floor(first[2] / 1e14) ~= math.floor(last[2] / 1e14) then
    local turn = redis.call('HINCRBY', turns, owner, 1) % #SHARES
    id = first_of(waiting, SHARES[turn + 1]) or id
  end
  redis.call('ZREM', waiting, id)
  return id
end

-- Owners that are at their limit are passed over, a few of them at once.
local function next_of(tenant, owners)
  for _ = 1, math.min(redis.call('LLEN', owners), 20) do
    local owner = redis.call('LMOVE', owners, owners, 'LEFT', 'RIGHT')
    if owner_has_room(tenant, owner) then
      local waiting = waiting_prefix .. tenant .. ':' .. owner
      local id = take_next(waiting, owner)
      if redis.call('ZCARD', waiting) == 0 then
        redis.call('LREM', owners, 0, owner)
        redis.call('HDEL', turns, owner)
      end
      if id then return owner, id end
    end
  end
end
