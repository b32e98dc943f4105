-- twin: what stands in the meta hash, read and checked against the state.

-- A history entry: the head record of a commit, with the state that it made.
local function entry(head, state)
  return sub(head, 1, -2) .. ',"state":' .. state .. '}'
end

local function check_whole(twin)
  if twin.head and not twin.state then corrupt(STATE, 'is missing, while meta says that there is a state') end
  if twin.state and not twin.head then corrupt(META, 'is missing, while there is a state: something else wrote it') end
  if not twin.state then return end
  if #twin.state ~= twin.bytes or byte(twin.state) ~= 123 or byte(twin.state, -1) ~= 125 then
    corrupt(STATE, 'is not what the last commit wrote: something else wrote it')
  end
end

local function rule_texts(places) return call('HMGET', RULES, unpack(places)) end

-- The twin: its state, its head commit and its settings.
local function read_twin()
  local m = call('HMGET', META, 'version', 'epoch', 'head', 'bytes', 'stamp', 'committed', 'calls', 'history_length',
    'validation', 'model', 'model_hash', 'checks', 'max_bytes', 'auto_timestamp')
  local twin = {
    name = match(STATE, '{(.-)}') or STATE,
    state = call('GET', STATE), version = tonumber(m[1] or 0), epoch = m[2], head = m[1] and m[3], bytes = tonumber(m[4]),
    stamp = tonumber(m[5]), committed = tonumber(m[6] or 0), calls = tonumber(m[7] or 0) + 1,
    history_length = tonumber(m[8] or DEFAULT_HISTORY_LENGTH), validation = m[9] or 'standard',
    model = m[10] or nil, model_hash = m[11] or nil, checks = m[12] or nil,
    max_bytes = tonumber(m[13] or DEFAULT_MAX_BYTES), auto_timestamp = m[14] ~= '0', rule_texts = rule_texts,
  }
  check_whole(twin)
  return twin
end

-- Version 1 begins an epoch. Lua's random numbers are the same in every run of a script, so the token is made of
-- the clock and of the caller's commit id, which is random.
local function start_epoch(twin)
  local others = { HISTORY, IDS, OLD_IDS, TIMES }
  for _, key in ipairs(others) do
    if call('EXISTS', key) == 1 then corrupt(key, 'is left over from a twin that has no state: delete the twin first') end
  end
  twin.epoch = format('%x', twin.now) .. sub(gsub(ID, '%W', ''), 1, 8)
end
