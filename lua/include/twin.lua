-- twin: what stands in the meta hash, read and checked against the state.

-- A history entry: the head record of a commit, with the state that it made.
local function entry(head, state)
  return head:sub(1, -2) .. ',"state":' .. state .. '}'
end

-- The twin: its state, its head commit and its settings.
local function read_twin()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head', 'bytes', 'stamp', 'committed', 'calls',
    'history_length', 'validation', 'model', 'model_hash', 'checks', 'max_bytes', 'auto_timestamp')
  local state, head = redis.call('GET', STATE), m[1] and m[3]
  if head and not state then corrupt(STATE, 'is missing, while meta says that there is a state') end
  if state and not head then corrupt(META, 'is missing, while there is a state: something else wrote it') end
  if state and (#state ~= tonumber(m[4]) or state:byte() ~= 123 or state:byte(-1) ~= 125) then
    corrupt(STATE, 'is not what the last commit wrote: something else wrote it')
  end
  return {
    state = state, head = head, version = tonumber(m[1] or 0), epoch = m[2],
    stamp = tonumber(m[5]), committed = tonumber(m[6] or 0), calls = (m[7] or 0) + 1,
    history_length = tonumber(m[8] or DEFAULT_HISTORY_LENGTH), validation = m[9] or 'standard',
    model = m[10] or nil, model_hash = m[11] or nil, checks = m[12] or nil,
    max_bytes = tonumber(m[13] or DEFAULT_MAX_BYTES), auto_timestamp = m[14] ~= '0',
  }
end
