-- Keeps an event that is told, unless it is there. It goes by itself when its time is over, and the index drops what is gone
-- whenever something new comes: no sweeper has to come by.
-- Needs: now

-- @param fields field, value, ... as `eventFields` gives them
local function write_event(event, index, id, retention, fields)
  if redis.call('HSETNX', event, 'created', now) == 0 then return end
  redis.call('HSET', event, unpack(fields))
  redis.call('PEXPIRE', event, retention)
  redis.call('ZADD', index, now, id)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - retention)
  redis.call('PEXPIRE', index, retention)
end
