-- The end of reserve-deployment.
local was_held = held > 0 and all[held]
if chosen then
  if was_held and was_held ~= chosen then book_one(was_held, held_at, -1) end
  return go(chosen)
end
local why = best.why
if keeps and why == 'busy' then
  join_line(best)
elseif keeps then
  if why ~= 'limit' then spread(best) end
  if why ~= 'cooldown' then
    if was_held then book_one(was_held, held_at, -1) end
    if best.sum then book_one(best, best.at, 1) end
  end
end
return { 'wait', best.i, best.at, why == 'rests' and 'limit' or why, now, best.is_next and 1 or 0, handed }
