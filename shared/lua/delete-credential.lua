-- Deletes a stored credential: no request that comes later can use it. Safe to send twice.
-- KEYS: credential, credentials of the tenant
-- ARGV: id
-- Output: 1 when it was there, else 0
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
