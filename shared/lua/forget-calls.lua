-- Takes jobs off the lists of calls that may be sent again: their answers have arrived.
-- KEYS: such lists
-- ARGV: the job that is taken off each
-- Output: how many were there
local taken = 0
for at, list in ipairs(KEYS) do taken = taken + redis.call('LREM', list, 1, ARGV[at]) end
return taken
