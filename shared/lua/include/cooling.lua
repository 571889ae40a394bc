-- Until when a cooldown or pause holds, and whether the call that comes now is the probe after it. Needs: now
local function cooling(till, probe)
  till, probe = tonumber(till) or 0, tonumber(probe) or 0
  if till > now then return till, false end
  -- Long enough to give the slot back meanwhile, and the same for all who come within a second.
  if till > 0 and probe > now then return math.min(probe, math.ceil((now + 1200) / 1000) * 1000), false end
  return now, till > 0
end
