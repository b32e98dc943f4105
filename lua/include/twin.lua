-- twin: what stands in the meta hash, read and checked against the state.

-- A history entry: the head record of a commit, with the state that it made.
local function entry(head, state)
  return head:sub(1, -2) .. ',"state":' .. state .. '}'
end

-- Refuses a state that is not what the last commit wrote, as far as a glance can tell.
local function check_state(state, bytes)
  if not state then corrupt(STATE, 'is missing, while meta says that there is a state') end
  if #state ~= tonumber(bytes) or not (state:find('^{"') or state == '{}') or state:byte(-1) ~= 125 then
    corrupt(STATE, 'is not what the last commit wrote: something else wrote it')
  end
end

local function whole(number) return number and number % 1 == 0 end

-- Whether the twin can be what our scripts wrote to meta.
local function is_ours(twin)
  local numbers = whole(twin.version) and whole(twin.committed) and whole(twin.calls) and whole(twin.max_bytes)
  if not (numbers and whole(twin.history_length) and twin.history_length > 0) then return false end
  if not twin.head then return true end
  return twin.epoch and whole(twin.stamp) and twin.head:find(('{"version":%.0f,'):format(twin.version), 1, true) == 1
end

-- The twin: its state, its head commit and its settings.
local function read_twin()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head', 'bytes', 'stamp', 'committed', 'calls',
    'history_length', 'validation', 'model', 'model_hash', 'checks', 'max_bytes', 'auto_timestamp')
  local state, head = redis.call('GET', STATE), m[1] and m[3]
  if state and not head then corrupt(META, 'is missing, while there is a state: something else wrote it') end
  if m[1] then check_state(state, m[4]) end
  local twin = {
    state = state, head = head, version = tonumber(m[1] or 0), epoch = m[2],
    stamp = tonumber(m[5]), committed = tonumber(m[6] or 0), calls = tonumber(m[7] or 0),
    history_length = tonumber(m[8] or DEFAULT_HISTORY_LENGTH), validation = m[9] or 'standard',
    model = m[10] or nil, model_hash = m[11] or nil, checks = m[12] or nil,
    max_bytes = tonumber(m[13] or DEFAULT_MAX_BYTES), auto_timestamp = m[14] ~= '0',
  }
  if not is_ours(twin) then corrupt(META, 'holds what no commit wrote: something else wrote it') end
  return twin
end

-- For scripts that only read: the head's version (0 where there is none), the epoch, and the head's record and bytes.
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
  if text:find(('{"version":%.0f,'):format(version), 1, true) ~= 1 then
    corrupt(HISTORY, ('does not hold version %.0f where it should: something else wrote it'):format(version))
  end
  return text
end
