-- What stands in line: owner after owner of each tenant. Needs: now, owners_max
local front_size, looked_at = 5, 5

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

local function note_front(front, fronts)
  for at = 1, #front, 2 do
    local class = math.floor(front[at + 1] / 1e14) + 1
    table.insert(fronts[class], { id = front[at], since = front[at + 1] - (class - 1) * 1e14 })
  end
end

-- Most lines are short: the first step shows all of it. Of most others all is of one priority.
local function count_line(waiting, count, fronts)
  local before = { #fronts[1], #fronts[2], #fronts[3] }
  local front = redis.call('ZRANGE', waiting, 0, front_size - 1, 'WITHSCORES')
  note_front(front, fronts)
  local is_all = #front < 2 * front_size
  local first = math.floor((front[2] or 0) / 1e14) + 1
  if not is_all and redis.call('ZCOUNT', waiting, first * 1e14, '+inf') == 0 then
    count[first] = count[first] + redis.call('ZCARD', waiting)
    return
  end
  for class = 1, 3 do
    if is_all then
      count[class] = count[class] + #fronts[class] - before[class]
    else
      local from, to = (class - 1) * 1e14, '(' .. string.format('%.0f', class * 1e14)
      count[class] = count[class] + redis.call('ZCOUNT', waiting, from, to)
      if #fronts[class] == before[class] then
        note_front(redis.call('ZRANGE', waiting, from, to, 'BYSCORE', 'LIMIT', 0, front_size, 'WITHSCORES'), fronts)
      end
    end
  end
end

-- @return numbers by priority, what is in front of each line, and the oldest first of these
local function in_lines(tenants, owners_prefix, waiting_prefix)
  local found, all = owners_in(tenants, owners_prefix)
  local count, fronts = { 0, 0, 0 }, { {}, {}, {} }
  for _, owner in ipairs(found) do count_line(waiting_prefix .. owner, count, fronts) end
  local times = #found > 0 and all / #found or 0
  for class = 1, 3 do
    count[class] = math.floor(count[class] * times + 0.5)
    table.sort(fronts[class], function(a, b) return a.since < b.since end)
  end
  return count, fronts, times
end
