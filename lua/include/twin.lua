-- twin: what stands in the meta hash, read and checked against the state, for scripts that write.

local function whole(number) return number and number % 1 == 0 end

-- A time of the years 1 to 9999, in microseconds: with any other, to_iso makes no time.
local function is_time(number)
  return whole(number) and number >= -62135596800000000 and number < 253402300800000000
end

-- Whether the twin can be what our scripts wrote to meta.
local function is_ours(twin)
  local numbers = whole(twin.version) and is_time(twin.committed) and whole(twin.calls) and whole(twin.max_bytes)
    and is_time(twin.ids_since) and twin.version >= 0 and twin.version < 9007199254740992 -- 2^53
  if not (numbers and whole(twin.history_length) and twin.history_length > 0) then return false end
  if twin.entries and not (whole(twin.entries) and twin.entries >= 0) then return false end
  if not twin.head then return true end
  return twin.epoch and whole(twin.stamp) and is_of_version(twin.head, twin.version)
end

-- The twin: its state, its head commit and its settings.
local function read_twin()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head', 'bytes', 'stamp', 'committed', 'calls',
    'history_length', 'validation', 'model_hash', 'checks', 'max_bytes', 'auto_timestamp', 'history', 'ids_since', 'sharded',
    'entries')
  local state, head = redis.call('GET', STATE), m[1] and m[3]
  if state and not head then corrupt(META, 'is missing, while there is a state: something else wrote it') end
  if m[1] then check_state(state, m[4]) end
  local twin = {
    state = state, head = head, version = tonumber(m[1] or 0), epoch = m[2],
    stamp = tonumber(m[5]), committed = tonumber(m[6] or 0), calls = tonumber(m[7] or 0),
    history_length = tonumber(m[8] or 1000), validation = m[9] or 'standard', model_hash = m[10] or nil,
    checks = m[11] or nil, max_bytes = tonumber(m[12] or 1048576), auto_timestamp = m[13] ~= '0',
    compact = m[14] == 'compact', ids_since = tonumber(m[15] or 0), sharded = m[16] == '1',
    entries = m[17] and (tonumber(m[17]) or -1),
  }
  if not is_ours(twin) then corrupt(META, 'holds what no commit wrote: something else wrote it') end
  return twin
end

-- Refuses a history that something else made shorter or longer. A twin whose last commit was made before meta had the
-- number of its entries goes without, once.
local function check_entries(twin)
  local length = redis.call('LLEN', HISTORY)
  if not twin.head and length > 0 then
    corrupt(HISTORY, 'is left over from a twin that has no state: delete the twin first, or repair it')
  end
  if twin.head and twin.entries and length ~= twin.entries then
    corrupt(HISTORY, ('has %d entries, and commits left %.0f: something else removed or added some')
      :format(length, twin.entries))
  end
  return length
end
