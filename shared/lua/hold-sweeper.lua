-- Takes or prolongs the one sweeper's lease.
-- KEYS: sweeper
-- ARGV: worker id, lease ms
-- Output: 1 when this worker is the sweeper now, else 0
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
