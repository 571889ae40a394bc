-- What the end of a job changes in its accounts. Needs: account, what settle-job has read and is about to write
local size = tonumber(ARGV[at + 7])
for place = 2, #written, 2 do size = size + #tostring(written[place]) end

local grown, reserved, held = size - (tonumber(record[5]) or 0), tonumber(record[6]) or 0, tonumber(record[7]) or 0
for _, one in ipairs(accounts_of(prefix, tenant, owner, record[4])) do
  one.live, one.bytes, one.ended, one.reserved = one.live - 1, one.bytes + grown, one.ended + size, one.reserved - reserved
  one.held, one.spent = one.held - held, one.spent + cost
  save_account(one)
end
count_reserved(prefix, -reserved)
redis.call('RPUSH', KEYS[12], today .. ' ' .. used)
