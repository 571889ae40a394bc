-- Places in flight: `flight` holds holder -> when its lease runs out, `line` those who wait for a place, by arrival, as
-- '<its own limit> <holder>'. Needs: now, lease_ms, keep

-- Gives free places to those in line whose own limit allows it, first come first served. They hold them for a lease, so that
-- no newcomer takes them meanwhile. @return calls in flight, who was given a place, the own limit of the last of these
local function hand_on(flight, line)
  redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
  local count, given, last_limit = redis.call('ZCARD', flight), {}, 0
  for _, member in ipairs(redis.call('ZRANGE', line, 0, 99)) do
    local limit, holder = string.match(member, '^(%d+) (.*)$')
    if count < tonumber(limit) then
      redis.call('ZREM', line, member)
      count = count + redis.call('ZADD', flight, now + lease_ms, holder)
      given[#given + 1], last_limit = holder, tonumber(limit)
    end
  end
  if #given > 0 then keep(flight, lease_ms + 1000) end
  return count, given, last_limit
end
