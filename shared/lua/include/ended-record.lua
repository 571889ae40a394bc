-- What is written of a job that ends. Needs: now, retention, at, attempts, what settle-job has read

-- When it was created, and how many ms later all else was: its end, deadline, first claim; cancel and earliest start, if any.
local function times()
  local created = tonumber(record[10])
  local said = { record[10], now - created }
  local last = (record[13] or record[14]) and 14 or 12
  for from = 11, last do said[#said + 1] = record[from] and tonumber(record[from]) - created or '-' end
  return table.concat(said, ' ')
end

-- @return field, value, ...: what stays of it, and what is known since its end. The owner only where it has an account.
local function ended_record()
  local fields = { 'status', status, 'expires', now + retention, 'times', times(), 'log', attempts }
  if record[4] == '2' then
    fields[9], fields[10] = 'owner', owner
  end
  for place, value in ipairs(redis.call('HMGET', job, unpack(ARGV, 12, at - 1))) do
    if value then
      fields[#fields + 1] = ARGV[11 + place]
      fields[#fields + 1] = value
    end
  end
  for place = at + 8, #ARGV do fields[#fields + 1] = ARGV[place] end
  return fields
end
