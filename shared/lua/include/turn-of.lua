-- Whose turn it is among all that waits of one owner, by priority, then by age. Needs: turns
-- Of thirteen turns of an owner that has waiting ones of all three, eight are for high, four for normal and one for low.
local SHARES = { 0, 0, 1, 0, 0, 1, 0, 0, 1, 2, 0, 0, 1 }

local function first_of(waiting, class)
  return redis.call('ZRANGE', waiting, class * 1e14, (class + 1) * 1e14 - 1, 'BYSCORE', 'LIMIT', 0, 1)[1]
end

local function turn_of(waiting, whose)
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  local last = redis.call('ZRANGE', waiting, -1, -1, 'WITHSCORES')
  if not first[1] or math.floor(first[2] / 1e14) == math.floor(last[2] / 1e14) then return first[1] end
  local turn = redis.call('HINCRBY', turns, whose, 1)
  -- Whose line is emptied by cancels leaves its count behind: all begin anew once a day.
  if turn == 1 and redis.call('PTTL', turns) < 0 then redis.call('PEXPIRE', turns, 86400000) end
  return first_of(waiting, SHARES[turn % #SHARES + 1]) or first[1]
end
