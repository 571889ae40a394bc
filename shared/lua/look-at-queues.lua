-- Tells what waits to be taken and whether anybody could take it, for whoever looks whether the shard gets ahead; changes nothing.
-- KEYS: window, busy, tenants, slots, concurrency, lines in flight, tenants of batches, sweeper, progress, window of chunks,
--       parked, targets due, then BullMQ's lists
-- ARGV: now_ms ('' = Redis TIME), ms that a sign of progress is kept
-- Output: {slots, calls under way or about to be, 1 = something stands in line or is overdue, 1 = there is a sweeper, 1 = a job
--         in line could be let in, ms since progress (-1: not known), id of the entry of each list that is next ('': none)}
local window, busy, tenants, concurrency, batch_busy = KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[6]
local slots = tonumber(redis.call('GET', KEYS[4])) or 0
-- @include now
-- @include room-of
local total, ring = redis.call('ZCARD', window), redis.call('LLEN', tenants)

-- Where anybody has a limit it may hold any job of his, which only its line tells.
local function could_run()
  if has_limits or total >= slots then return 0 end
  for _, tenant in ipairs(redis.call('LRANGE', tenants, 0, 9)) do
    if tenant_has_room(tenant, total, ring == 1) then return 1 end
  end
  return 0
end

local function waits()
  if ring > 0 or redis.call('LLEN', KEYS[7]) > 0 then return 1 end
  for _, times in ipairs({ window, KEYS[10], KEYS[11], KEYS[12] }) do
    if redis.call('ZCOUNT', times, '-inf', now) > 0 then return 1 end
  end
  return 0
end

local left = redis.call('PTTL', KEYS[9])
local said = {
  slots,
  redis.call('ZCOUNT', window, now, '+inf') + (tonumber(redis.call('HGET', batch_busy, '*')) or 0),
  waits(),
  redis.call('EXISTS', KEYS[8]),
  could_run(),
  left > 0 and tonumber(ARGV[2]) - left or -1,
}
for at = 13, #KEYS do said[#said + 1] = redis.call('LINDEX', KEYS[at], -1) or '' end
return said
