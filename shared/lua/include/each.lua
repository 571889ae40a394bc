-- The end of a script that runs for several calls at once, each as if it were alone: what one can't do is its own error.
-- Needs: one(KEYS, ARGV), the script itself
-- KEYS: those of the calls, one after the other, as many of each
-- ARGV: number of calls, then of each: number of its arguments, these
-- Output: the replies of the calls
local count, out, at = tonumber(ARGV[1]), {}, 1
local width = #KEYS / count
for call = 1, count do
  local size = tonumber(ARGV[at + 1])
  local done, reply =
    pcall(one, { unpack(KEYS, (call - 1) * width + 1, call * width) }, { unpack(ARGV, at + 2, at + 1 + size) })
  -- Redis 7 raises its errors as tables, 6.2 as texts.
  if not done and type(reply) ~= 'table' then reply = redis.error_reply(tostring(reply)) end
  -- A nil would end the list.
  out[call] = reply ~= nil and reply
  at = at + 1 + size
end
return out
