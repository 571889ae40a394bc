-- Jobs that were handed a place at a deployment go on at once: the parked ones as if their time had come; whoever runs one of
-- the others is told. Records and waiting sets are named by what is in them, hence the prefixes.
-- KEYS: parked, tenants
-- ARGV: prefix of owner rings, prefix of waiting sets, prefix of records, channel, then ids
-- Output: ids of jobs that have ended, are being cancelled, or are gone
local parked, tenants = KEYS[1], KEYS[2]
local owners_prefix, waiting_prefix, job_prefix = ARGV[1], ARGV[2], ARGV[3]
-- @include wake-job
local ended = {}
for at = 5, #ARGV do
  local id = ARGV[at]
  local record = place_of(id)
  local status = record[1]
  if status ~= 'queued' and status ~= 'in_progress' then
    ended[#ended + 1] = id
  elseif status == 'queued' and redis.call('ZSCORE', parked, id) then
    wake_job(id, record)
  else
    redis.call('PUBLISH', ARGV[4], id)
  end
end
return ended
