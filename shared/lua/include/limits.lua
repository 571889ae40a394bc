-- When one more call fits under the limits {rpm, tpm, itpm, otpm} (0 = none). Needs: usage, held_at, need = {1, input, output}
local function measure(use, m)
  if m == 2 then return use[2] + use[3] end
  return m == 1 and use[1] or use[m - 1]
end

-- A request larger than a whole limit runs alone instead of never; one that names no maximum for its answer will use something.
local function fits(use, limits)
  for m = 1, 4 do
    local limit = limits[m]
    if limit > 0 and measure(use, m) + math.min(math.max(measure(need, m), 1), limit) > limit then return false end
  end
  return true
end

-- For a newcomer all kept places count, so that nobody's is taken: free when what is left of the newest parts fits.
local function free_at(log, sum, limits)
  if fits(sum, limits) then return now end
  local newer, at = { 0, 0, 0 }, now
  each_part(log, sum.top, sum.low, -1, function(name, use)
    add(newer, use, 1)
    if fits(newer, limits) then return false end
    at = math.max(now, part_ends(name))
    return true
  end)
  return at
end

-- For a job that comes with a place of its own only what came before it counts, as it came: who was late is counted when it
-- came, and places after it are held against this call when their time has come.
local function held_free_at(log, sum, limits)
  local before, parts, at = { 0, 0, 0 }, {}, now
  each_part(log, sum.low, part, 1, function(name, use)
    if name == math.floor(held_at / part_ms) then add(use, need, -1) end
    add(before, use, 1)
    parts[#parts + 1] = { name, use }
  end)
  for _, one in ipairs(parts) do
    if fits(before, limits) then break end
    at = math.max(now, part_ends(one[1]))
    add(before, one[2], -1)
  end
  return at
end
