-- A job at a deployment that allows so many calls at once. Needs: places, holder, lease_ms
local handed = {}

-- Moves the line on and remembers who is to be told.
local function move_line(one)
  local count, given = hand_on(one.flight, one.line)
  for _, who in ipairs(given) do
    if who ~= holder then
      handed[#handed + 1] = one.i
      handed[#handed + 1] = who
    end
  end
  return count
end

-- Nothing when the job has a place or can take one; else sets why it waits, and when it is worth another look: when a lease
-- may run out for those who are next, later for the others. A place that is given back is handed to them before that.
local function stand_in_line(one)
  local count = move_line(one)
  if count < one.parallel or redis.call('ZSCORE', one.flight, holder) then return end
  local ahead = redis.call('ZRANK', one.line, one.parallel .. ' ' .. holder) or redis.call('ZCARD', one.line)
  one.why, one.is_next = 'busy', ahead < one.parallel
  if one.is_next then
    one.at = tonumber(redis.call('ZRANGE', one.flight, ahead, ahead, 'WITHSCORES')[2]) or now + lease_ms
  else
    one.at = now + math.min(lease_ms * math.ceil(ahead / one.parallel), 60000) + 10 * ahead
  end
end

local function join_line(one)
  redis.call('ZADD', one.line, 'NX', now, one.parallel .. ' ' .. holder)
  keep(one.line, one.at - now + 60000)
end

-- The job goes elsewhere, or waits for something else: a place that was handed to it is another's.
local function leave(one, leaves_line)
  if leaves_line then redis.call('ZREM', one.line, one.parallel .. ' ' .. holder) end
  if redis.call('ZREM', one.flight, holder) == 1 then move_line(one) end
end
