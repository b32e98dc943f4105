-- head: the newest commit and the entries behind it, for scripts that only read.

-- The head's version (0 where there is none), the epoch, and the head's record and bytes.
local function read_head()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head', 'bytes')
  local version = tonumber(m[1] or 0)
  if not m[1] and redis.call('EXISTS', STATE) == 1 then
    corrupt(META, 'is missing, while there is a state: something else wrote it')
  end
  if not version or (m[1] and not (m[2] and m[3])) then
    corrupt(META, 'holds what no commit wrote: something else wrote it')
  end
  return version, m[2], m[3], m[4]
end

-- The entry of the head commit.
local function head_entry(head, bytes)
  local state = redis.call('GET', STATE)
  check_state(state, bytes)
  return entry(head, state)
end

-- A history entry from the list, if it is that of `version`: entries stand in a row.
local function checked_entry(text, version)
  if not is_of_version(text, version) then
    corrupt(HISTORY, ('does not hold version %.0f where it should: something else wrote it'):format(version))
  end
  return text
end
