-- How many more lines of a tenant, and of an owner of its batches, may be in flight. Where the number of jobs at once is limited,
-- jobs and lines count together. Needs: busy (lines in flight), job_busy, concurrency, slots
local has_limits = redis.call('EXISTS', concurrency) == 1

local function count_of(hash, field)
  return tonumber(redis.call('HGET', hash, field)) or 0
end

local function room_by_limit(field, of_each)
  if not has_limits then return math.huge end
  local found = redis.call('HMGET', concurrency, field, of_each)
  local limit = tonumber(found[1] or found[2])
  return limit and limit - count_of(job_busy, field) - count_of(busy, field) or math.huge
end

-- No tenant gets above half of the slots while others wait, nor ever the last 15% of them.
-- @return its room; 0 while it is only a sliver, which is left to grow, unless it is all that there is
local function tenant_room(tenant, is_alone, width_max)
  local mine, limit = count_of(busy, tenant), room_by_limit(tenant, tenant)
  local share = math.max(1, math.floor(slots * (is_alone and 0.85 or 0.5)))
  local room = math.min(math.max(1, math.floor(slots * 0.95)) - count_of(busy, '*'), share - mine, limit)
  return room >= math.min(math.ceil(width_max / 2), share, math.max(1, math.ceil((mine + limit) / 2))) and room or 0
end

-- The next owner of a tenant that is not at its limit, and its room. Others are passed over, as in next-of.
local passed_each, passed_more = 20, 200

local function next_owner(tenant, owners)
  for count = 1, redis.call('LLEN', owners) do
    if count > passed_each then
      if passed_more == 0 then return nil end
      passed_more = passed_more - 1
    end
    local owner = redis.call('LMOVE', owners, owners, 'LEFT', 'RIGHT')
    local room = room_by_limit(tenant .. ' ' .. owner, tenant .. ' *')
    if room >= 1 then return owner, room end
  end
end
