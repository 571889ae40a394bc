-- Cuts chunks of lines while there is room for them: round robin over tenants, within a tenant over its owners, within an
-- owner by shares of its priorities, then over batches of the same one. Lines that waited for a time and are due come before
-- new ones. No tenant gets above half of the slots while others wait, nor ever the last 15% of them; a batch not above its own
-- concurrency; limits of concurrent jobs hold.
-- Batches and rings are named by what the rings hold, hence the prefixes.
-- KEYS: window, busy, tenants, slots, turns, concurrency, jobs of the window
-- ARGV: now_ms ('' = Redis TIME), chunks at most, ms after which an entry that nobody claimed is looked for, lines of a chunk
--       at most, lines of a chunk in flight at most, prefixes of: batches, chunks, parked lines, owner rings, waiting sets
-- Output: {batch, chunk, batch, chunk, ...} to be enqueued with generation 1
local window, busy, tenants, turns, concurrency, job_busy = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6], KEYS[7]
local chunks_max, lines_max, width_cap = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local slots = tonumber(redis.call('GET', KEYS[4])) or 0
-- @include now
-- @include line-room
-- @include cut-chunk
-- @include turn-of
local width_max = math.max(1, math.min(width_cap, math.floor(slots / 8)))
local passed, ring, out = 0, redis.call('LLEN', tenants), {}

while #out < chunks_max * 2 and passed < ring do
  local tenant = redis.call('LMOVE', tenants, tenants, 'LEFT', 'RIGHT')
  local room, owners = tenant_room(tenant, ring == 1, width_max), ARGV[9] .. tenant
  local id, chunk, owner, owner_room
  if room >= 1 then owner, owner_room = next_owner(tenant, owners) end
  if owner then
    local waiting = ARGV[10] .. tenant .. ':' .. owner
    id = turn_of(waiting, 'batch ' .. owner)
    local has_more = false
    if id then chunk, has_more = cut(id, tenant, owner, math.min(room, owner_room, width_max)) end
    if has_more then
      -- To the end of its class, also behind what was moved there in this very step.
      redis.call('ZADD', waiting, redis.call('HGET', ARGV[6] .. id, 'class') * 1e14 + now + #out / 16, id)
    else
      if id then redis.call('ZREM', waiting, id) end
      if redis.call('ZCARD', waiting) == 0 then
        redis.call('LREM', owners, 0, owner)
        redis.call('HDEL', turns, 'batch ' .. owner)
      end
      if redis.call('LLEN', owners) == 0 then
        redis.call('LREM', tenants, 0, tenant)
        ring = ring - 1
      end
      passed = 0
    end
  end
  if chunk then
    out[#out + 1], out[#out + 2] = id, chunk
    passed = 0
  else
    passed = passed + 1
  end
end
return out
