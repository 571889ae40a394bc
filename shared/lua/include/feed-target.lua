-- Sends a target what it may be sent now. Each delivery that is pending is in one of two sets of its target: it waits (by when
-- it is due), or is on its way (by when its lease runs out). Needs: now, set
-- @include end-delivery
-- @include target-state

-- What was lost on its way, or with its worker, waits again in its old place.
local function take_back(id)
  for _, lost in ipairs(redis.call('ZRANGE', set.flight .. id, '-inf', now, 'BYSCORE', 'LIMIT', 0, 20)) do
    redis.call('ZREM', set.flight .. id, lost)
    local due = redis.call('HGET', set.delivery .. lost, 'due')
    if due then redis.call('ZADD', set.due .. id, due, lost) end
  end
end

local function send_off(id, waiting, out)
  redis.call('ZREM', set.due .. id, waiting)
  local record = redis.call('HMGET', set.delivery .. waiting, 'state', 'attempts', 'tenant')
  if record[1] ~= 'pending' then return 0 end
  redis.call('ZADD', set.flight .. id, now + set.look, waiting)
  out[#out + 1] = { waiting, record[2] + 1, record[3], id }
  return 1
end

-- When the feeder must look again: at the first lease's end, or when the first that waits may go.
local function schedule(id, state)
  local at = tonumber(redis.call('ZRANGE', set.flight .. id, 0, 0, 'WITHSCORES')[2]) or math.huge
  if redis.call('ZCARD', set.flight .. id) < state.at_once then
    local first = tonumber(redis.call('ZRANGE', set.due .. id, 0, 0, 'WITHSCORES')[2]) or math.huge
    at = math.min(at, math.max(first, state.opens, state.ramp_next, now))
  end
  if at == math.huge then redis.call('ZREM', set.targets_due, id) else redis.call('ZADD', set.targets_due, at, id) end
end

-- @param is_forced the first that waits goes, whatever the target's state, while fewer than ten are on their way
-- @param out gets {delivery, number of its next try, tenant, target} of those to be enqueued
local function feed_target(id, is_forced, out)
  take_back(id)
  local state, every, sent = target_state(id), 0, 0
  local room = (is_forced and flight_max or state.at_once) - redis.call('ZCARD', set.flight .. id)
  if is_forced then
    room = math.min(room, 1)
  elseif end_waiting(id) then
    room, state.opens, state.ramp_next = 0, 0, 0
  elseif state.opens > now then
    room = 0
  else
    room, every = ramp_room(id, state, room)
  end
  local waiting = room > 0 and redis.call('ZRANGE', set.due .. id, '-inf', now, 'BYSCORE', 'LIMIT', 0, room) or {}
  for _, one in ipairs(waiting) do sent = sent + send_off(id, one, out) end
  if every > 0 and sent > 0 then
    state.ramp_next = state.ramp_next + sent * every
    redis.call('HSET', set.target .. id, 'ramp_next', state.ramp_next)
  end
  schedule(id, state)
end
