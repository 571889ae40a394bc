-- Prolongs the leases of the jobs a worker is running, and tells it which of them it must let go. Records are named by
-- their ids, hence the prefix.
-- KEYS: window
-- ARGV: now_ms ('' = Redis TIME), lease ms, prefix of records, then id, token, id, token, ...
-- Output: {id, 'lost' | 'cancelling', ...}: only those that are not simply renewed ('cancelling' ones are renewed too)
local window, lease, job_prefix = KEYS[1], tonumber(ARGV[2]), ARGV[3]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
-- @include when-full
go_on_when_full(window)
local out = {}
for at = 4, #ARGV, 2 do
  local id = ARGV[at]
  local record = redis.call('HMGET', job_prefix .. id, 'token', 'status')
  if record[1] == ARGV[at + 1] then redis.call('ZADD', window, 'XX', now + lease, id) end
  if record[1] ~= ARGV[at + 1] or record[2] == 'cancelling' then
    out[#out + 1] = id
    out[#out + 1] = record[1] == ARGV[at + 1] and 'cancelling' or 'lost'
  end
end
return out
