-- Counts a job into the window (1), or out of it (-1); for its customer too, where it has one ('2'). Needs: busy
local function count_busy(tenant, owner, accounts, by)
  local fields = { tenant }
  if tostring(accounts) == '2' then fields[2] = tenant .. ' ' .. owner end
  for _, field in ipairs(fields) do
    if redis.call('HINCRBY', busy, field, by) <= 0 then redis.call('HDEL', busy, field) end
  end
end
