-- Gives back places in flight of one deployment, and hands them to those who are first in its line.
-- KEYS: calls in flight, line
-- ARGV: now_ms ('' = Redis TIME), lease ms, then holders
-- Output: who was given a place
local flight, line, lease_ms = KEYS[1], KEYS[2], tonumber(ARGV[2])
-- @include now
-- @include keep
-- @include places
redis.call('ZREM', flight, unpack(ARGV, 3))
local _, given = hand_on(flight, line)
return given
