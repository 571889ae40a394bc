-- Jobs of calls whose client may have lost its connection. Needs: orphans, ARGV[18] = prefix of records
-- @return the job of a call that is sent again: the next one of its kind that is not called off
local function same_call(word)
  if word ~= 'again' then return nil end
  for _ = 1, redis.call('LLEN', orphans) do
    local other = redis.call('LMOVE', orphans, orphans, 'LEFT', 'RIGHT')
    local status = redis.call('HGET', ARGV[18] .. other, 'status')
    if status and status ~= 'cancelling' and status ~= 'cancelled' and status ~= 'expired' then return other end
    redis.call('LREM', orphans, 1, other)
  end
end
