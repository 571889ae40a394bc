-- Forgets an ended job whose retention is over: the record, the stream of its answer, its place in its tenant's index, and its
-- bytes in the accounts.
-- KEYS: job, index of its tenant, due, stream
-- ARGV: now_ms ('' = Redis TIME), id, now whatever its retention ('1' | '0'), prefix of accounts
-- Output: 1 when it was forgotten, 0 when it is not (or no longer) to be
local job, index, due, id = KEYS[1], KEYS[2], KEYS[3], ARGV[2]
-- @include now
-- @include account
local record = redis.call('HMGET', job, 'status', 'tenant', 'owner', 'size')
local status = record[1]
if status == 'queued' or status == 'in_progress' or status == 'cancelling' then return 0 end
local due_at = tonumber(redis.call('ZSCORE', due, id))
if due_at and due_at > now and ARGV[3] ~= '1' then return 0 end
redis.call('ZREM', index, id)
redis.call('ZREM', due, id)
local size = tonumber(record[4])
if size then
  for _, one in ipairs(accounts_of(ARGV[4], record[2], record[3], record[3] and 2)) do
    one.bytes, one.ended = one.bytes - size, one.ended - size
    save_account(one)
  end
end
redis.call('UNLINK', job, KEYS[4])
return 1
