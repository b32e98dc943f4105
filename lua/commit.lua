-- commit: check, merge, validate, append and publish one change of a twin, or several, all or none.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 ids  6 old ids  7 times  8 events (a channel)
-- ARGV  1 op: set, import, merge or adjust
--       2 expected version ('' for any; 0 for 'no state yet')
--       3 commit id, up to 128 bytes ('' for none: then a repeated call commits again)
--       4 actor, up to 128 bytes ('' for none)
--       5 hash of the model that the caller goes by ('' for whatever the twin has)
--       6 age: milliseconds since this call was first sent (0 the first time)
--       7.. one JSON object per commit, at most 1000:
--           set, import: the state; merge: the merge patch (RFC 7396); adjust: {"/json/pointer": number to add}
-- Returns {epoch, duplicate (0 or 1), committed_at, version of the first commit, timestamp of each as JSON text}
-- Errors  CIRCMAN_CONFLICT CIRCMAN_INVALID CIRCMAN_BAD_JSON CIRCMAN_TOO_LARGE CIRCMAN_NO_STATE CIRCMAN_CORRUPT
--         CIRCMAN_MODEL CIRCMAN_EXPIRED; after any of them nothing was written
-- Publishes one event per commit
local STATE, HISTORY, META, RULES, IDS, OLD_IDS, TIMES, EVENTS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local OP, EXPECTED, ID, ACTOR, MODEL, AGE = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local FIRST_BODY = 7
-- @include base
-- @include time
-- @include json
-- @include merge
-- @include rules
-- @include adjust
-- @include twin

local MOST_BODIES = 1000
local ID_WINDOW = 2048 -- calls: an id is remembered for one to two windows
local TRIM_TIMES_EVERY = 64 -- versions

local function check_arguments()
  local known = OP == 'set' or OP == 'merge' or OP == 'adjust' or OP == 'import'
  if not known then refuse('BAD_JSON', '{"reason":' .. quote('unknown op ' .. OP) .. '}') end
  local bodies = #ARGV - FIRST_BODY + 1
  if bodies < 1 or bodies > MOST_BODIES then
    refuse('TOO_LARGE', format('{"commits":%d,"most":%d}', bodies, MOST_BODIES))
  end
  for _, text in ipairs({ ID, ACTOR }) do
    if #text > 128 or (find(text, '[\128-\255]') and not is_utf8(text)) then
      refuse('BAD_JSON', '{"reason":"a commit id or an actor that is not 0 to 128 bytes of UTF-8"}')
    end
  end
end

-- What the commit with this id returned, if it was made before.
local function recognised(twin)
  if ID == '' then return nil end
  local record = call('HGET', IDS, ID) or call('HGET', OLD_IDS, ID)
  if record then
    local reply = { twin.epoch, 1 }
    for part in string.gmatch(record, '[^\n]+') do reply[#reply + 1] = part end
    reply[4] = tonumber(reply[4])
    return reply
  end
  if AGE ~= '0' then
    local since = tonumber(call('HGET', META, 'ids_since') or '0')
    if since > 0 and twin.now - tonumber(AGE) * 1000 <= since then
      refuse('EXPIRED', '{"id":' .. quote(ID) .. ',"remembered_since":"' .. to_iso(since) .. '"}')
    end
  end
end

local function check_expectations(twin)
  if EXPECTED ~= '' and tonumber(EXPECTED) ~= twin.version then
    refuse('CONFLICT', format('{"expected":%s,"actual":%.0f}', tonumber(EXPECTED) and EXPECTED or quote(EXPECTED), twin.version))
  end
  local has_it = MODEL == twin.model_hash
  -- A model with checks that only Python can make binds everybody: who cannot have made them is refused.
  local unchecked = twin.checks == 'python' and not (has_it and (EXPECTED ~= '' or OP == 'set' or OP == 'import'))
  if unchecked or (MODEL ~= '' and not has_it) then
    refuse('MODEL', format('{"yours":%s,"published":%s,"model":%s,"checks":%s}', quote(MODEL),
      quote(twin.model_hash or ''), quote(twin.model or ''), quote(twin.checks or '')))
  end
end

-- Gives the tree a timestamp where it has none (null counts as none), and returns the text that goes with it.
local function stamped(tree, text, timestamp)
  local given = tree.values.timestamp
  if given and given ~= 'null' then return text end
  tree.values.timestamp = timestamp
  if given then return write_json(tree) end
  tree.keys[#tree.keys + 1] = 'timestamp'
  return sub(text, 1, -2) .. (text == '{}' and '' or ',') .. '"timestamp":' .. timestamp .. '}'
end

-- The state's own timestamp: its JSON text, and its microseconds (the commit's, where it names no time).
local function own_time(state, committed)
  local _, first, last = locate(state, 'timestamp')
  local text = first and sub(state, first, last) or 'null'
  if byte(text) == 123 or byte(text) == 91 then text = 'null' end
  return text, byte(text) == 34 and from_iso(plain(sub(text, 2, -2))) or committed
end

-- Steps 3 to 6: what `body` makes of `twin`, which is brought forward; returns the commit's head record.
local function advance(twin, body, id)
  local size = #body
  if size > twin.max_bytes then refuse('TOO_LARGE', format('{"bytes":%d,"max_bytes":%d}', size, twin.max_bytes)) end
  local tree, text = read_json(body)
  local whole = OP == 'set' or OP == 'import'
  if OP == 'adjust' then
    if not twin.state then refuse('NO_STATE', '{"reason":"there is no state to adjust"}') end
    tree = adjustment(twin.state, tree)
    text = write_json(tree)
  end
  if twin.auto_timestamp then text = stamped(tree, text, twin.committed_json) end
  local standing = whole and WHOLE or (twin.state and MERGED or MADE)
  local state = whole and text or merge(twin.state or '{}', tree)
  if #state > twin.max_bytes then refuse('TOO_LARGE', format('{"bytes":%d,"max_bytes":%d}', #state, twin.max_bytes)) end
  if twin.validation ~= 'none' then
    refuse_violations(violations_of(tree, standing, twin.validation == 'strict', twin.rule_texts))
  end
  local timestamp, stamp = own_time(state, twin.now)
  twin.version, twin.state = twin.version + 1, state
  local facts = format('{"version":%.0f,"timestamp":%s,"committed_at":%s,"op":"%s","actor":%s,"id":%s', twin.version,
    timestamp, twin.committed_json, OP, ACTOR == '' and 'null' or quote(ACTOR), id == '' and 'null' or quote(id))
  return {
    version = twin.version, state = state, timestamp = timestamp, stamp = stamp, facts = facts,
    patch = whole and 'null' or text, event_body = whole and '"state":' .. state or '"patch":' .. text,
  }
end

-- Keeps, per timestamp, the newest version that has it or an earlier one: a look-up takes the last one not after it.
local function index_times(twin, commits)
  local latest = twin.stamp
  for _, commit in ipairs(commits) do
    local score = format('%.0f', commit.stamp)
    if latest and commit.stamp <= latest then call('ZREMRANGEBYSCORE', TIMES, score, '+inf') end
    call('ZADD', TIMES, score, format('%.0f', commit.version))
    latest = commit.stamp
  end
end

local function trim_times(oldest)
  local stale = call('ZRANGE', TIMES, 0, 2 * TRIM_TIMES_EVERY)
  for i, version in ipairs(stale) do
    if tonumber(version) >= oldest then
      if i > 1 then call('ZREMRANGEBYRANK', TIMES, 0, i - 2) end
      return
    end
  end
end

-- The first write is one that fails cleanly; the second can still meet a wrong type, and then takes it back.
local function append(twin, commits, entries)
  local length = 0
  if entries[1] then length = call('LPUSH', HISTORY, unpack(entries)) end
  local ok, problem = pcall(index_times, twin, commits)
  if not ok then
    if entries[1] then call('LTRIM', HISTORY, #entries, -1) end
    error(problem)
  end
  if length > twin.history_length then call('LTRIM', HISTORY, 0, twin.history_length - 1) end
  if floor(twin.version / TRIM_TIMES_EVERY) > floor((twin.version - #commits) / TRIM_TIMES_EVERY) then
    trim_times(twin.version - math.min(length, twin.history_length))
  end
end

-- Two generations of ids: the older one is dropped whole, so that remembering is cheap and bounded.
local function remember(twin, first, commits)
  if twin.calls % ID_WINDOW == 0 and call('EXISTS', IDS) == 1 then
    call('UNLINK', OLD_IDS)
    call('RENAME', IDS, OLD_IDS)
    call('HSET', META, 'ids_since', call('HGET', META, 'ids_rotated') or '0', 'ids_rotated', format('%.0f', twin.now))
  end
  if ID == '' then return end
  local record = { twin.committed_at, format('%.0f', first) }
  for i, commit in ipairs(commits) do record[i + 2] = commit.timestamp end
  call('HSET', IDS, ID, concat(record, '\n'))
end

local function publish(twin, commits)
  local names = '{"twin":' .. quote(twin.name) .. ',"epoch":"' .. twin.epoch .. '",'
  for _, commit in ipairs(commits) do
    local start = names .. sub(commit.facts, 2) .. ','
    local body = #start + #commit.event_body < MAX_MESSAGE and commit.event_body or '"body":"omitted"'
    call('PUBLISH', EVENTS, start .. body .. '}')
  end
end

local function commit_all()
  check_arguments()
  local twin = read_twin()
  twin.now = server_time(twin.committed)
  local before = recognised(twin)
  if before then return before end
  check_expectations(twin)

  twin.committed_at = to_iso(twin.now)
  twin.committed_json = '"' .. twin.committed_at .. '"'
  local first, many = twin.version + 1, #ARGV > FIRST_BODY
  local commits, entries = {}, {}
  local head, state = twin.head, twin.state
  for i = FIRST_BODY, #ARGV do
    if head then entries[#entries + 1] = entry(head, state) end
    local commit = advance(twin, ARGV[i], (many and ID ~= '') and ID .. '#' .. (i - FIRST_BODY + 1) or ID)
    commits[#commits + 1] = commit
    head, state = commit.facts .. ',"patch":' .. commit.patch .. '}', commit.state
  end
  if first == 1 then start_epoch(twin) end

  append(twin, commits, entries)
  call('SET', STATE, state)
  call('HSET', META, 'version', format('%.0f', twin.version), 'epoch', twin.epoch, 'head', head, 'bytes', #state,
    'stamp', format('%.0f', commits[#commits].stamp), 'committed', format('%.0f', twin.now), 'calls', twin.calls)
  remember(twin, first, commits)
  publish(twin, commits)

  local reply = { twin.epoch, 0, twin.committed_at, first }
  for i, commit in ipairs(commits) do reply[i + 4] = commit.timestamp end
  return reply
end

return answer(commit_all, { 'string', 'list', 'hash', 'hash', 'hash', 'hash', 'zset' })
