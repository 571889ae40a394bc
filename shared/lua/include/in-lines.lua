-- What stands in line: owner after owner of each tenant. Needs: now, owners_max
-- Of those in front a few are looked at closely: one that was delayed is older than it has waited.
local looked_at = 5

-- Owners that are looked at: all, or as many of each tenant's.
local function owners_in(tenants, owners_prefix)
  local found, all = {}, 0
  local names = redis.call('LRANGE', tenants, 0, owners_max - 1)
  for _, tenant in ipairs(names) do all = all + redis.call('LLEN', owners_prefix .. tenant) end
  local each = all <= owners_max and owners_max or math.max(1, math.floor(owners_max / #names))
  for _, tenant in ipairs(names) do
    for _, owner in ipairs(redis.call('LRANGE', owners_prefix .. tenant, 0, each - 1)) do
      found[#found + 1] = tenant .. ':' .. owner
    end
  end
  -- Tenants that are not even looked at are taken to be like the others.
  return found, #names > 0 and all * redis.call('LLEN', tenants) / #names or 0
end

-- @param look what one in front holds, and since when it has waited where its place does not say so
-- @return numbers and oldest ages by priority (-1: none), and the sum of what the first ones hold
local function in_lines(tenants, owners_prefix, waiting_prefix, look)
  local found, all = owners_in(tenants, owners_prefix)
  local count, oldest, lines = { 0, 0, 0 }, { -1, -1, -1 }, 0
  for _, owner in ipairs(found) do
    for class = 0, 2 do
      local from, to = class * 1e14, '(' .. string.format('%.0f', (class + 1) * 1e14)
      local waiting = waiting_prefix .. owner
      count[class + 1] = count[class + 1] + redis.call('ZCOUNT', waiting, from, to)
      local front = redis.call('ZRANGE', waiting, from, to, 'BYSCORE', 'LIMIT', 0, looked_at, 'WITHSCORES')
      for at = 1, #front, 2 do
        local holds, since = look(front[at])
        local age = now - math.max(front[at + 1] - from, since or 0)
        lines, oldest[class + 1] = lines + holds, math.max(oldest[class + 1], math.floor(age), 0)
      end
    end
  end
  local times = #found > 0 and all / #found or 0
  for class = 1, 3 do count[class] = math.floor(count[class] * times + 0.5) end
  return { count = count, oldest = oldest, lines = math.floor(lines * times + 0.5) }
end
