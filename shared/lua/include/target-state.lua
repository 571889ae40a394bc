-- How a target behaves. Ten deliveries at most are on their way there at once, over all workers, two less for each failure in
-- a row. Five of these close it for a while, twice as long each time that the probe after it fails, at most 5 minutes; after
-- one that was accepted the rate starts at ten a second and doubles every `ramp` ms. Needs: now, set
local flight_max, failures_max, closed_ms_max, ramp_start, ramp_doublings = 10, 5, 300000, 10, 7
-- What the rate allowed between two looks of the sweeper is made up for, and no more.
local slack_ms = 250

local function target_state(id)
  local found = redis.call('HMGET', set.target .. id, 'failures', 'closed_until', 'rests_until', 'ramp_from', 'ramp_next')
  for index = 1, 5 do found[index] = tonumber(found[index] or nil) or 0 end
  local failures, closed, rests, ramp_from, ramp_next = unpack(found)
  return {
    at_once = failures < failures_max and flight_max - 2 * failures or 1,
    opens = math.max(closed, rests), ramp_from = ramp_from, ramp_next = ramp_next,
  }
end

-- @return how many the ramp allows of these, of how many milliseconds each of them takes
local function ramp_room(id, state, room)
  if state.ramp_from == 0 or room < 1 then return room, 0 end
  local doublings = math.max(0, math.floor((now - state.ramp_from) / set.ramp))
  if doublings >= ramp_doublings then
    redis.call('HDEL', set.target .. id, 'ramp_from', 'ramp_next')
    state.ramp_next = 0
    return room, 0
  end
  local every = 1000 / (ramp_start * 2 ^ doublings)
  state.ramp_next = math.max(state.ramp_next, now - slack_ms)
  return math.max(0, math.min(room, math.floor((now - state.ramp_next) / every) + 1)), every
end

-- Leaves a target alone for so long, or for as long as another answer from it wished.
local function rest_target(id, ms)
  local rests = tonumber(redis.call('HGET', set.target .. id, 'rests_until') or nil) or 0
  redis.call('HSET', set.target .. id, 'rests_until', math.max(rests, now + ms))
  redis.call('PEXPIRE', set.target .. id, set.target_ttl)
end

local function note_accepted(id)
  local failures = tonumber(redis.call('HGET', set.target .. id, 'failures') or nil)
  if not failures then return end
  redis.call('HDEL', set.target .. id, 'failures', 'failing_since', 'closings', 'closed_until')
  if failures >= failures_max then redis.call('HSET', set.target .. id, 'ramp_from', now, 'ramp_next', now) end
  redis.call('PEXPIRE', set.target .. id, set.target_ttl)
end

-- @return for how many milliseconds there was nothing but failures
local function note_failed(id)
  local target = set.target .. id
  local failures = redis.call('HINCRBY', target, 'failures', 1)
  redis.call('HSETNX', target, 'failing_since', now)
  local closed = tonumber(redis.call('HGET', target, 'closed_until') or nil) or 0
  -- Those that were on their way when it closed say nothing new.
  if failures >= failures_max and closed <= now then
    local closings = redis.call('HINCRBY', target, 'closings', 1)
    redis.call('HSET', target, 'closed_until', now + math.min(closed_ms_max, set.breaker * 2 ^ math.min(30, closings - 1)))
  end
  redis.call('PEXPIRE', target, set.target_ttl)
  return now - tonumber(redis.call('HGET', target, 'failing_since'))
end
