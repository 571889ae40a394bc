-- What a decision changes. Needs: candidate, book-usage, in-line, ranking, held, held_at, probe_ms, lease_ms
-- @include mark

local function book_one(one, at, sign)
  one.sum = one.sum or sum_of(one, redis.call('HGET', one.state, 'usage'))
  if sign > 0 and one.counts then mark(one.state, 'counted', one.counted) end
  return book(one.state, one.log, one.sum, at, need, sign)
end

local function go(one)
  if one.probes then redis.call('HSET', one.state, 'probe', now + probe_ms) end
  if one.key_probes then redis.call('HSET', one.pause, 'probe', now + probe_ms) end
  local booked = one.sum and now or 0
  -- Half of what the window is longer by is for those who come late to their place; who is later is counted when it came.
  if one.i == held and now - held_at <= window * 0.005 then
    booked = held_at
  elseif one.sum then
    if one.i == held then book_one(one, held_at, -1) end
    book_one(one, now, 1)
  end
  local leases = one.parallel > 0 or ranking == 'busy'
  if leases then mark(one.state, 'leased', one.leased) end
  if leases or one.leased > 0 then
    leases = true
    redis.call('ZADD', one.flight, now + lease_ms, holder)
    keep(one.flight, lease_ms + 1000)
  end
  return { 'go', one.i, booked, (one.probes or one.key_probes) and 1 or 0, leases and 1 or 0, handed }
end

-- Those who wait for one moment come back a hundred a second, not all at once.
local function spread(one)
  if redis.call('HGET', one.state, 'parked_for') ~= string.format('%.0f', one.at) then
    redis.call('HSET', one.state, 'parked_for', string.format('%.0f', one.at), 'parked', 0)
    keep(one.state, one.at - now + 60000)
  end
  one.at = one.at + (redis.call('HINCRBY', one.state, 'parked', 1) - 1) * 10
end
