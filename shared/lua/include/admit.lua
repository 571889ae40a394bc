-- Whether a job may be taken, by the limits of its tenant and its customer. Needs: now, account
-- Requests within the minute that ends now: those of the calendar minute before count as if they had come evenly.
local function used_of(one)
  return one.before * (1 - now % 60000 / 60000) + one.count
end

-- Milliseconds until one more request would be taken: those of a minute go evenly during the next one.
local function rest_of(one, limit)
  local left = 60000 - now % 60000
  if limit < 1 then return 60000 end
  if one.count + 1 > limit then return left + math.ceil((one.count + 1 - limit) * 60000 / one.count) end
  return math.min(left, math.ceil((used_of(one) + 1 - limit) * 60000 / one.before))
end

-- Whether a day has no room for what is to be held. What costs nothing that is known of is let in until all is spent.
local function is_over_budget(one, held, limit)
  local over = one.spent + one.held + held - limit
  return over > 0 or over == 0 and held == 0
end

-- Of both accounts: what is counted of them now.
local function counted(accounts)
  local used = {}
  for at, one in ipairs(accounts) do used[at] = math.ceil(used_of(one)) end
  return used[1], used[2] or 0
end

-- @param limits {requests a minute, waiting jobs, bytes, micro USD a day}, -1 = no such limit
-- @param busy how many of its jobs run or are about to; false: this one would not wait
-- @return nil, or what is over and the milliseconds after which it is worth another try
local function refusal_of(one, limits, busy, bytes, held)
  if limits[1] >= 0 and used_of(one) + 1 > limits[1] then return 'requests', rest_of(one, limits[1]) end
  if limits[2] >= 0 and busy and one.live - busy >= limits[2] then return 'waiting', 5000 end
  if limits[3] >= 0 and one.bytes + one.reserved + bytes > limits[3] then return 'bytes', 60000 end
  if limits[4] >= 0 and is_over_budget(one, held, limits[4]) then return 'budget', (today + 1) * 86400000 - now end
end

-- @return nil, or what a script answers of what it does not take
local function refused(accounts, limits, busy_of, bytes, held)
  for at, one in ipairs(accounts) do
    if limits[at] then
      local limit, wait = refusal_of(one, limits[at], busy_of(at), bytes, held)
      if limit then
        local ours, theirs = counted(accounts)
        return { 'refused', at == 1 and 'tenant' or 'customer', limit, math.ceil(wait), ours, theirs, now }
      end
    end
  end
end
