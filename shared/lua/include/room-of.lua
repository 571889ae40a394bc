-- Whether one more job of a tenant, and of its owner, may be let into the window: below half of the slots always; above it
-- only while nobody else waits, and never, this job counted in, the last 15%. Limits of concurrent jobs hold in any case.
-- Needs: busy, concurrency, slots, batch_busy
local function busy_of(field)
  return tonumber(redis.call('HGET', busy, field)) or 0
end

-- Nobody has a limit in most installations: then nothing more is read.
local has_limits = redis.call('EXISTS', concurrency) == 1

local function tenant_has_room(tenant, total, is_alone)
  local mine = busy_of(tenant)
  if has_limits then
    local limit = tonumber(redis.call('HGET', concurrency, tenant))
    if limit and mine + (tonumber(redis.call('HGET', batch_busy, tenant)) or 0) >= limit then return false end
  end
  return mine < math.max(1, slots / 2) or (is_alone and total + 1 <= slots * 0.85)
end

local function owner_has_room(tenant, owner)
  if not has_limits then return true end
  local own = tenant .. ' ' .. owner
  local limits = redis.call('HMGET', concurrency, own, tenant .. ' *')
  local limit = tonumber(limits[1] or limits[2])
  return not limit or busy_of(own) + (tonumber(redis.call('HGET', batch_busy, own)) or 0) < limit
end
