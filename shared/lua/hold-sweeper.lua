-- Takes or prolongs the one sweeper's lease.
-- KEYS: sweeper
-- ARGV: worker id, lease ms
-- Output: 1 when this worker is the sweeper now, else 0
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
-- A full Redis refuses SET, and what the sweeper forgets is what makes room: prolonging must work there, and who finds
-- no holder sweeps without a lease (all of it is safe to do twice).
if holder then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
local taken = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if type(taken) == 'table' and taken.err and not string.find(taken.err, 'OOM', 1, true) then return taken end
return 1
