-- Takes the next job out of a tenant's lines. Needs: waiting_prefix, turns, room-of
-- @include turn-of
-- Owners that are at their limit are passed over: a few of each tenant, and some hundred more of all of them. Those behind
-- have their turn the next time.
local passed_each, passed_more = 20, 200

local function next_of(tenant, owners)
  for count = 1, redis.call('LLEN', owners) do
    if count > passed_each then
      if passed_more == 0 then return nil end
      passed_more = passed_more - 1
    end
    local owner = redis.call('LMOVE', owners, owners, 'LEFT', 'RIGHT')
    if owner_has_room(tenant, owner) then
      local waiting = waiting_prefix .. tenant .. ':' .. owner
      local id = turn_of(waiting, owner)
      if id then redis.call('ZREM', waiting, id) end
      if redis.call('ZCARD', waiting) == 0 then
        redis.call('LREM', owners, 0, owner)
        redis.call('HDEL', turns, owner)
      end
      if id then return owner, id end
    end
  end
end
