-- A key stays for at least so long; never for less than it would have.
local function keep(key, ms)
  redis.call('PEXPIRE', key, math.ceil(math.max(redis.call('PTTL', key), ms)))
end
