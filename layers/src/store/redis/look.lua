-- KEYS head, states, log. ARGV: our revision; '1' to be given the states; the most bytes of one.
local token, fault, at = standing()
local last, commit_at = '0', ''
if kind(KEYS[3]) == 'stream' then
  -- The newest commit in it; others may have written to it too.
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 100)) do
    local revision = string.match(entry[1], '^(%d+)-0$')
    if last == '0' and revision and table.concat(entry[2], ' '):find('life ', 1, true) == 1 and entry[2][3] == 'commit' then
      last = revision
    end
  end
  local ours = redis.call('XRANGE', KEYS[3], ARGV[1] .. '-0', ARGV[1] .. '-0')[1]
  if ours then
    for i = 1, #ours[2], 2 do if ours[2][i] == 'commit' then commit_at = ours[2][i + 1] end end
  end
end
local found = { token, fault, at[1] or '', at[2] or '', at[3] or '', at[5] or '', commit_at, last, string.format('%.0f', now()) }
if ARGV[2] == '1' and kind(KEYS[2]) == 'hash' then
  local all = redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    found[#found + 1] = all[i]
    found[#found + 1] = #all[i + 1] <= tonumber(ARGV[3]) and all[i + 1] or ''
  end
end
return found
