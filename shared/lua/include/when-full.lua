-- A full Redis (at its maxmemory) refuses what may take memory as the first write of a script, and lets it through behind a
-- write that may not. What changes only what is there, or frees more than it writes, begins with one that does nothing: leases
-- and heartbeats go on, so that what is under way can end and make room.
local function go_on_when_full(zset) redis.call('ZREM', zset, '') end
