-- restore_history: checks the next entries of the history that a twin is restored from, and lays them by.
--
-- KEYS  1 state  2 restore  3 restore history  4 restore times
-- ARGV  1 token: that of restore_begin.lua
--       2 for how many milliseconds it is kept at most, if nothing comes after it
--       3.. history entries as they were stored, newest first, the first one below those that are laid by; at most 1000
-- Returns the lowest version that is laid by
-- Errors  CIRCMAN_BAD_JSON
local STATE, RESTORE, RESTORE_HISTORY, RESTORE_TIMES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TOKEN, KEPT_MS = ARGV[1], ARGV[2]
-- @include base
-- @include time
-- @include utf8
-- @include json
-- @include record
-- @include stored

local FIRST_ENTRY, MOST_ENTRIES = 3, 1000

-- One entry by itself: its facts.
local function check_entry(text, version, is_mixed)
  local what = ('the entry of version %.0f'):format(version)
  if version < 1 or not is_of_version(text, version) then bad_copy(what .. ' is not where it should be') end
  local facts = facts_of(text, what)
  local state = text:match('^,"state":(%b{})}$', facts.behind)
  if state then
    check_state_of(facts, state, what)
    return facts
  end
  local inverse = text:match('^,"inverse":(%b{})}$', facts.behind)
  if not inverse then bad_copy(what .. ' has no state, and no way back to one') end
  if not is_mixed then bad_copy(what .. ' is a compact one, and the twin never had a compact history') end
  read_stored(inverse, 'the way back to ' .. what)
  return facts
end

local function take()
  local m = redis.call('HMGET', RESTORE, 'token', 'lowest', 'earliest', 'before', 'settings')
  if not m[1] or m[1] ~= TOKEN then bad_copy('this restore is not under way any more: begin it again') end
  if not KEPT_MS:find('^[1-9]%d*$') or #KEPT_MS > 15 then bad_copy('no number of milliseconds: ' .. KEPT_MS) end
  local entries = #ARGV - FIRST_ENTRY + 1
  if entries < 1 or entries > MOST_ENTRIES then bad_copy(('%d entries in one call'):format(entries)) end
  local lowest, earliest, before = tonumber(m[2]), tonumber(m[3]), tonumber(m[4])
  if is_of_version(ARGV[#ARGV], lowest) then return lowest end -- sent again, and laid by before
  local is_mixed, times = m[5]:find('"history":', 1, true), {}
  for i = FIRST_ENTRY, #ARGV do
    local facts = check_entry(ARGV[i], lowest - 1, is_mixed)
    if facts.committed > before then
      bad_copy(('the entry of version %.0f was committed after the one that superseded it'):format(facts.version))
    end
    -- As a commit has it: a version that a later one of an earlier time overtook is not looked up by time.
    if facts.stamp < earliest then
      earliest = facts.stamp
      times[#times + 1], times[#times + 2] = ('%.0f'):format(facts.stamp), ('%.0f'):format(facts.version)
    end
    lowest, before = facts.version, facts.committed
  end
  check_right('RPUSH', RESTORE_HISTORY, '')
  check_right('ZADD', RESTORE_TIMES, '0', '0')
  check_right('HSET', RESTORE, '', '')
  check_right('PEXPIRE', RESTORE, '1')
  redis.call('RPUSH', RESTORE_HISTORY, unpack(ARGV, FIRST_ENTRY))
  if times[1] then redis.call('ZADD', RESTORE_TIMES, unpack(times)) end
  redis.call('HSET', RESTORE, 'lowest', ('%.0f'):format(lowest), 'earliest', ('%.0f'):format(earliest),
    'before', ('%.0f'):format(before))
  redis.call('PEXPIRE', RESTORE, KEPT_MS)
  redis.call('PEXPIRE', RESTORE_HISTORY, KEPT_MS)
  redis.call('PEXPIRE', RESTORE_TIMES, KEPT_MS)
  return lowest
end

return answer(take, 'string hash list zset', 4, 2)
