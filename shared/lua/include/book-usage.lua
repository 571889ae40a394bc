-- Adds to what was used at a time, or takes from it (never below nothing). Needs: usage
-- @return whether there was something to take from
local function book(state, log, sum, at, use, sign)
  local name = math.floor(at / part_ms)
  local text = redis.call('HGET', log, name)
  if sign < 0 and not text then return false end
  local used = read_use(text)
  for m = 1, 3 do
    local change = math.max(-used[m], sign * use[m])
    used[m], sum[m] = used[m] + change, sum[m] + change
  end
  sum.low, sum.top = math.min(sum.low, name), math.max(sum.top, name)
  redis.call('HSET', log, name, string.format('%.0f %.0f %.0f', used[1], used[2], used[3]))
  save_sum(state, sum)
  if not text then
    -- The sum must not outlive what it is the sum of.
    local ms = part_ends(sum.top) - now + 2 * span
    keep(log, ms)
    keep(state, ms)
  end
  return true
end
