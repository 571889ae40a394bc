-- Prolongs the leases of the chunks a worker is running, and tells it which of them it must let go, or start nothing new of.
-- Chunks and batches are named by their ids, hence the prefixes.
-- KEYS: window
-- ARGV: now_ms ('' = Redis TIME), lease ms, prefixes of: batches, chunks; then '<batch> <chunk>', token, ...
-- Output: {'<batch> <chunk>', 'lost' | 'cancelling', ...}: only those that are not simply renewed ('cancelling' ones are renewed too)
local window, lease = KEYS[1], tonumber(ARGV[2])
-- @include now
-- @include when-full
go_on_when_full(window)
local out = {}
for at = 5, #ARGV, 2 do
  local member = ARGV[at]
  local id, number = string.match(member, '^(%S+) (%S+)$')
  local is_held = redis.call('HGET', ARGV[4] .. id .. ':' .. number, 'token') == ARGV[at + 1]
  if is_held then redis.call('ZADD', window, 'XX', now + lease, member) end
  if not is_held or (number ~= 'f' and redis.call('HEXISTS', ARGV[3] .. id, 'ending') == 1) then
    out[#out + 1] = member
    out[#out + 1] = is_held and 'cancelling' or 'lost'
  end
end
return out
