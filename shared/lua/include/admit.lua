-- Whether a job may be taken, by the limits of its tenant and its customer. Needs: now, account
-- Requests within the minute that ends now: those of the calendar minute before count as if they had come evenly.
local function used_of(one)
  return one.before * (1 - now % 60000 / 60000) + one.count
end

-- Milliseconds until a request less is counted.
local function rest_of(one, limit)
  local left = 60000 - now % 60000
  if one.before <= 0 or limit < 1 or one.count + 1 > limit then return left end
  return math.min(left, math.ceil((used_of(one) + 1 - limit) * 60000 / one.before))
end

-- @param limits {requests a minute, waiting jobs, bytes, micro USD a day}, -1 = no such limit
-- @return nil, or what is over and the milliseconds after which it is worth another try
local function refusal_of(one, limits, waits, busy, bytes, held)
  if limits[1] >= 0 and used_of(one) + 1 > limits[1] then return 'requests', rest_of(one, limits[1]) end
  if limits[2] >= 0 and waits and one.live - busy >= limits[2] then return 'waiting', 5000 end
  if limits[3] >= 0 and one.bytes + one.reserved + bytes > limits[3] then return 'bytes', 60000 end
  local over = one.spent + one.held + held - limits[4]
  if limits[4] >= 0 and (over > 0 or over == 0 and held == 0) then return 'budget', (today + 1) * 86400000 - now end
end
