-- commit: check, merge, validate, append and publish one change of a twin, or several, all or none.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 ids  6 old ids  7 times  8 leases  9 events (a channel)
-- ARGV  1 op: set, import, merge or adjust
--       2 expected version ('' for any; 0 for 'no state yet'), or epoch:version, or epoch:version:committed_at, for that
--         very commit
--       3 commit id, up to 128 bytes ('' for none: then a repeated call commits again). One that begins with c., 13 hex
--         digits and a dot was made when a commit of so many microseconds was the newest that its maker knew
--       4 actor, up to 128 bytes ('' for none)
--       5 hash of the model that the caller goes by ('' for whatever the twin has)
--       6 age: milliseconds since this call was first sent (0 the first time)
--       7 fence: role:token, where the caller commits as the one who has the role (lease.lua; '' as anybody)
--       8.. one JSON object per commit, at most 1000, and no more once the states that they make are over 16 MiB:
--           set, import: the state; merge: the merge patch (RFC 7396); adjust: {"/json/pointer": number to add}
-- Returns {epoch, duplicate (0 or 1; 2 where the server takes no writes now, so that a WAIT behind it would wait for
--          nothing), committed_at, version of the first commit, timestamp of each as JSON text}
-- Errors  CIRCMAN_CONFLICT CIRCMAN_INVALID CIRCMAN_BAD_JSON CIRCMAN_TOO_LARGE CIRCMAN_NO_STATE CIRCMAN_CORRUPT
--         CIRCMAN_MODEL CIRCMAN_EXPIRED CIRCMAN_FENCED; after any of them nothing was written (but that a retry was refused)
-- Publishes one event per commit
local STATE, HISTORY, META, RULES, IDS, OLD_IDS, TIMES, LEASES, EVENTS =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local OP, EXPECTED, ID, ACTOR, MODEL, AGE, FENCE = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local FIRST_BODY, MAX_MESSAGE = 8, 32768 -- a longer event leaves its body out
-- @include base
-- @include time
-- @include record
-- @include twin
-- @include channel
-- @include ids
-- @include keywords
-- @include usual

local MOST_BODIES = 1000
local MOST_MADE = 16777216 -- bytes of states that one call makes, but for its first: nobody else is served meanwhile
local LATE = 60000000 -- microseconds: so long after a retry was refused, the first attempt may still arrive
local TRIM_TIMES_EVERY = 64 -- versions
local FULL_EVERY = 16 -- versions: in a compact history, a state is never more patches away than this

local function check_size(text, twin)
  if #text > twin.max_bytes then
    refuse('TOO_LARGE', ('{"bytes":%d,"max_bytes":%d}'):format(#text, twin.max_bytes))
  end
end

-- What the usual merge does without is made when it is first called for: to make it takes longer than to run the rest.
local function make_careful()
  -- @include utf8
  -- @include json
  -- @include merge
  -- @include rules
  -- @include adjust
  -- @include compact

  local careful = {}

  function careful.check_arguments()
    for _, text in ipairs({ ID, ACTOR, OP, EXPECTED, MODEL, AGE, FENCE }) do
      if not is_short_text(text) then
        refuse('BAD_JSON', '{"reason":"a commit id, an actor or another argument that is not 0 to 128 bytes of UTF-8"}')
      end
    end
    local known = OP == 'set' or OP == 'merge' or OP == 'adjust' or OP == 'import'
    if not known then refuse('BAD_JSON', '{"reason":' .. quote('unknown op ' .. OP) .. '}') end
    if not AGE:find('^%d+$') then
      refuse('BAD_JSON', '{"reason":' .. quote('an age that is no number of milliseconds: ' .. AGE) .. '}')
    end
  end

  -- Gives the tree a timestamp where it has none (null counts as none), and returns the text that goes with it.
  local function stamped(tree, text, timestamp)
    local given = tree.values.timestamp
    tree.values.timestamp = timestamp
    if given then return write_json(tree) end
    tree.keys[#tree.keys + 1] = 'timestamp'
    return text:sub(1, -2) .. (text == '{}' and '' or ',') .. '"timestamp":' .. timestamp .. '}'
  end

  -- The state's own timestamp: its JSON text, and its microseconds (the commit's, where it names no time).
  local function own_time(tree, state, committed)
    local text = tree.values.timestamp
    if not text then
      local _, first, last = locate(state, 'timestamp', 2)
      text = first and state:sub(first, last)
    end
    if type(text) ~= 'string' or text:byte() == 123 or text:byte() == 91 then return 'null', committed end
    return text, text:byte() == 34 and from_iso(plain(text:sub(2, -2))) or committed
  end

  -- A published model has a rule for the root, which is asked for with the members of the root, last.
  local function rule_texts_of(twin)
    return function(places)
      local found = redis.call('HMGET', RULES, unpack(places))
      if twin.model_hash and places[#places] == '' and not found[#places] then
        corrupt(RULES, 'is missing, while meta says that a model is published: something else removed it')
      end
      return found
    end
  end

  -- Steps 3 to 6: what `body` makes of the twin, as changed() tells it.
  function careful.changed(twin, body)
    local tree, text = read_json(body)
    local whole = OP == 'set' or OP == 'import'
    if OP == 'adjust' then
      if not twin.state then refuse('NO_STATE', '{"reason":"there is no state to adjust"}') end
      tree = adjustment(twin.state, tree)
      text = write_json(tree)
    end
    local given = tree.values.timestamp
    if twin.auto_timestamp and (not given or given == 'null') then text = stamped(tree, text, twin.committed_json) end
    local standing = whole and WHOLE or (twin.state and MERGED or MADE)
    local state = whole and text or merge(twin.state or '{}', tree, tree.keys)
    check_size(state, twin)
    if twin.validation ~= 'none' then
      refuse_violations(violations_of(tree, standing, twin.validation == 'strict', rule_texts_of(twin)))
    end
    local timestamp, stamp = own_time(tree, state, twin.now)
    return state, text, timestamp, stamp
  end

  function careful.compact_entry(head, before, patch, after)
    return compact_entry(head, before, (read_json(patch)), after)
  end

  return careful
end

local careful_parts
local function careful()
  careful_parts = careful_parts or make_careful()
  return careful_parts
end

local function check_arguments()
  local bodies = math.max(#ARGV - FIRST_BODY + 1, 0)
  if bodies < 1 or bodies > MOST_BODIES then
    refuse('TOO_LARGE', ('{"commits":%d,"most":%d}'):format(bodies, MOST_BODIES))
  end
  -- At a glance first: no more than 128 bytes all in all, of what needs no closer look.
  local texts = OP .. EXPECTED .. ID .. ACTOR .. MODEL .. FENCE
  if OP ~= 'merge' or AGE ~= '0' or #texts > 128 or not texts:find('^[%w_.:-]*$') then careful().check_arguments() end
end

local function check_expectations(twin)
  if EXPECTED ~= '' then
    local actual = ('%d'):format(twin.version)
    local here = (twin.epoch or '') .. ':' .. actual
    if EXPECTED ~= actual and EXPECTED ~= here and EXPECTED ~= here .. ':' .. to_iso(twin.committed) then
      local version = EXPECTED:match('^%w+:(%d+)$') or EXPECTED:match('^%w+:(%d+):') or EXPECTED
      local is_number = version == '0' or version:find('^[1-9]%d*$')
      refuse('CONFLICT', ('{"expected":%s,"actual":%s}'):format(is_number and version or quote(EXPECTED), actual))
    end
  end
  local has_it = MODEL == twin.model_hash
  -- A model with checks that only Python can make binds everybody: who cannot have made them is refused.
  local unchecked = twin.checks == 'python' and not (has_it and (EXPECTED ~= '' or OP == 'set' or OP == 'import'))
  if unchecked or (MODEL ~= '' and not has_it) then
    refuse('MODEL', ('{"yours":%s,"published":%s,"model":%s,"checks":%s}'):format(quote(MODEL),
      quote(twin.model_hash or ''), quote(redis.call('HGET', META, 'model') or ''), quote(twin.checks or '')))
  end
end

-- What changed() returns, of a usual merge; nil of any other.
local function usually_changed(twin, body)
  local rules, before, level, compact = twin.rules, twin.state, twin.validation, twin.compact
  if body:find('"timestamp":', 1, true) then
    local state, inverse, timestamp, us = usual_merge(rules, before, body, level, compact)
    if timestamp then return state, body, timestamp, us, inverse end
  elseif not twin.auto_timestamp then
    -- The state's own stays as it is: the head has it.
    local timestamp = twin.head:match('^{"version":%d+,"timestamp":("[^"]*")')
      or twin.head:match('^{"version":%d+,"timestamp":(null),')
    local us = timestamp == 'null' and twin.now or (timestamp and from_iso(timestamp:sub(2, -2)))
    local state, inverse
    if us then state, inverse = usual_merge(rules, before, body, level, compact) end
    return state, body, timestamp, us, inverse
  elseif body ~= '{}' and body:byte() == 123 and body:byte(-1) == 125 then
    local now = twin.committed_json
    local patch = body:sub(1, -2) .. ',"timestamp":' .. now .. '}'
    -- The walk is shortest in the order of the state.
    local walked = before:find('^{"timestamp":') and '{"timestamp":' .. now .. ',' .. body:sub(2) or patch
    local state, inverse = usual_merge(rules, before, walked, level, compact, now, twin.now)
    return state, patch, now, twin.now, inverse
  end
end

-- Steps 3 to 6: the state that `body` makes of the twin's, the text of its patch, the state's timestamp as JSON text and
-- its microseconds; for a compact history, the inverse of the patch too, where it is clear.
local function changed(twin, body)
  check_size(body, twin)
  if OP == 'merge' and twin.state then
    local state, patch, timestamp, us, inverse = usually_changed(twin, body)
    if state and #state <= twin.max_bytes then return state, patch, timestamp, us, inverse end
  end
  return careful().changed(twin, body)
end

-- Brings the twin forward by `body`; the commit, with its head record.
local function advance(twin, body, id)
  local state, patch, timestamp, us, inverse = changed(twin, body)
  local version = ('%d'):format(twin.version + 1)
  if twin.stamp and us <= twin.stamp then twin.steps_back = true end
  twin.version, twin.state, twin.stamp = twin.version + 1, state, us
  local facts = '"version":' .. version .. ',"timestamp":' .. timestamp .. ',"committed_at":' .. twin.committed_json
    .. ',"op":"' .. OP .. '","actor":' .. twin.actor .. ',"id":' .. (id == '' and 'null' or quote(id))
  local whole = OP == 'set' or OP == 'import'
  twin.head = '{' .. facts .. (whole and ',"patch":null}' or ',"patch":' .. patch .. '}')
  return {
    version = version, timestamp = timestamp, us = us, facts = facts, patch = not whole and patch, inverse = inverse,
    news = whole and ',"state":' .. state or ',"patch":' .. patch,
  }
end

-- The history entry of the commit with the record `head` and the state `before`, which `commit` supersedes.
local function superseded(twin, commit, head, before)
  if not twin.compact or not commit.patch or (twin.version - 1) % FULL_EVERY == 0 then return entry(head, before) end
  if not commit.inverse then return careful().compact_entry(head, before, commit.patch, twin.state) end
  return #commit.inverse < #before and with_inverse(head, commit.inverse) or entry(head, before)
end

-- Keeps, per timestamp, the newest version that has it or an earlier one: a look-up takes the last one not after it.
-- The very first command is ZADD in any case: without memory, a server refuses that, and nothing after a removal.
local function index_times(commits, latest)
  for i, commit in ipairs(commits) do
    local score = ('%d'):format(commit.us)
    if latest and commit.us <= latest then
      if i == 1 then redis.call('ZADD', TIMES, score, commit.version) end
      redis.call('ZREMRANGEBYSCORE', TIMES, score, '+inf')
    end
    redis.call('ZADD', TIMES, score, commit.version)
    latest = commit.us
  end
end

-- Forgets the times of versions before `oldest`, which left the history. They come first, for scores rise with versions.
local function trim_times(oldest)
  repeat
    local first = redis.call('ZRANGE', TIMES, 0, 2 * TRIM_TIMES_EVERY)
    local stale = 0
    while first[stale + 1] and tonumber(first[stale + 1]) < oldest do stale = stale + 1 end
    if stale > 0 then redis.call('ZREMRANGEBYRANK', TIMES, 0, stale - 1) end
  until stale < #first or stale == 0
end

-- What only some commits need (`all`), is looked at with every first commit of a twin too, and with whatever is no
-- merge: so it is found out early, and the usual merge does not pay for it.
local function check_rights(twin, all)
  check_right('LPUSH', HISTORY, '')
  check_right('LTRIM', HISTORY, '0', '0')
  check_right('ZADD', TIMES, '0', '0')
  check_right('SET', STATE, '')
  check_right('HSET', META, '', '')
  check_right('HSET', IDS, '', '')
  check_right(publish_command(twin.sharded), EVENTS, '')
  if all then
    check_right('INFO', 'cluster')
    check_right('EXISTS', IDS)
    check_right('HGET', META, '')
    check_right('ZRANGE', TIMES, '0', '0')
    check_right('ZREMRANGEBYSCORE', TIMES, '0', '0')
    check_right('ZREMRANGEBYRANK', TIMES, '0', '0')
    check_right('RENAME', IDS, OLD_IDS)
    check_right('UNLINK', OLD_IDS)
  end
end

local function publish(twin, commits)
  local names = '{"twin":' .. quote(twin_id()) .. ',"epoch":"' .. twin.epoch .. '",'
  for i = 1, #commits do
    local commit = commits[i]
    local news = #names + #commit.facts + #commit.news < MAX_MESSAGE and commit.news or ',"body":"omitted"'
    redis.call(publish_command(twin.sharded), EVENTS, names .. commit.facts .. news .. '}')
  end
end

-- Version 1 begins an epoch. Lua's random numbers are the same in every run of a script, so the token is made of
-- the clock and of the caller's commit id, which is random.
local function start_epoch(twin)
  for _, key in ipairs({ IDS, OLD_IDS, TIMES }) do
    if redis.call('EXISTS', key) == 1 then
      corrupt(key, 'is left over from a twin that has no state: delete the twin first, or repair it')
    end
  end
  twin.epoch = ('%x'):format(twin.now) .. ID:gsub('%W', ''):sub(-8)
end

-- Stores the newest state and its facts. The epoch is written with the first commit, and the state's digest where no
-- patch tells what the state has to be. (fakeredis has no sha1hex.)
local function store(twin, version, first)
  redis.call('SET', STATE, twin.state)
  redis.call('HSET', META, 'version', version, 'head', twin.head, 'bytes', #twin.state, 'stamp', ('%d'):format(twin.stamp),
    'committed', twin.now_text, 'calls', twin.calls + 1, 'entries', twin.entries)
  if first then redis.call('HSET', META, 'epoch', twin.epoch) end
  if twin.moved then redis.call('HSET', META, 'sharded', twin.sharded and '1' or '0') end
  if (OP == 'set' or OP == 'import') and redis.sha1hex then
    redis.call('HSET', META, 'digest', version .. ':' .. redis.sha1hex(twin.state))
  end
end

local function commit_all()
  check_arguments()
  local twin = read_twin()
  twin.now = server_time(twin.committed)
  local before = recognised(twin)
  if before then return before end
  if FENCE ~= '' then
    -- Whether whoever commits still has the role that it commits in; at a glance first.
    local role, token = FENCE:match('^([^:]+):(%d+)$')
    local held = role and redis.call('HGET', LEASES, role)
    if not held or held:match('^{"token":(%d+),"holder":"[^"]*","until":"%d[%d:T.-]+Z"}$') ~= token then
      -- @include fence
      check_fence(FENCE)
    end
  end
  check_expectations(twin)
  local length = check_entries(twin)

  twin.now_text, twin.committed_at = ('%d'):format(twin.now), to_iso(twin.now)
  twin.committed_json, twin.actor = '"' .. twin.committed_at .. '"', ACTOR == '' and 'null' or quote(ACTOR)
  twin.rules = twin.model_hash and {} or { [''] = true } -- with no model nobody misses the rule for the root
  local first, latest, many = twin.version + 1, twin.stamp, #ARGV > FIRST_BODY and ID ~= ''
  local commits, entries, made = {}, {}, 0
  for i = FIRST_BODY, #ARGV do
    if made > MOST_MADE then
      refuse('TOO_LARGE', ('{"commits":%d,"most":%d}'):format(#ARGV - FIRST_BODY + 1, i - FIRST_BODY))
    end
    local head, state = twin.head, twin.state
    local commit = advance(twin, ARGV[i], many and ID .. '#' .. (i - FIRST_BODY + 1) or ID)
    if head then entries[#entries + 1] = superseded(twin, commit, head, state) end
    commits[#commits + 1], made = commit, made + #twin.state
  end
  if first == 1 then start_epoch(twin) end

  -- Whether it is in a cluster is asked for now and then only: its keys may have come from elsewhere.
  local trims, rotates = twin.version % TRIM_TIMES_EVERY < #commits, (twin.calls + 1) % ID_WINDOW == 0
  if first == 1 or trims then
    local sharded = in_cluster()
    twin.moved, twin.sharded = sharded ~= twin.sharded, sharded
  end
  check_rights(twin, first == 1 or OP ~= 'merge' or trims or rotates or twin.steps_back)
  -- The first write is one that fails cleanly: no other can still meet a wrong type. The only one that must not be done
  -- twice, LPUSH, comes late: a redis-server 7.0 that is killed while it writes a transaction to its append-only file
  -- keeps a torn one there, and carries out what there is of it with the next, when it loads the file once more.
  index_times(commits, latest)
  twin.entries = math.min(length + #entries, twin.history_length)
  store(twin, commits[#commits].version, first == 1)
  remember(twin, commits, rotates)
  if trims then trim_times(twin.version - twin.entries) end
  if entries[1] then redis.call('LPUSH', HISTORY, unpack(entries)) end
  if length + #entries > twin.entries then redis.call('LTRIM', HISTORY, 0, twin.entries - 1) end
  publish(twin, commits)

  local reply = { twin.epoch, 0, twin.committed_at, first }
  for i = 1, #commits do reply[i + 4] = commits[i].timestamp end
  return reply
end

-- A retry that the state of the twin refuses. The attempt before it, which nobody got an answer to, may still be under
-- way, and meet another state: it must not be made any more, for its caller is told that it was not.
local function commit_again()
  local ok, result = pcall(commit_all)
  if ok then return result end
  local refusal = type(result) == 'table' and result.refusal
  local may_pass = refusal and (refusal:find('^CIRCMAN_INVALID') or refusal:find('^CIRCMAN_TOO_LARGE')
    or refusal:find('^CIRCMAN_MODEL')
    -- A version of an epoch that has passed does not come again: and modify() goes on with the same id, from another.
    or (refusal:find('^CIRCMAN_CONFLICT') and not EXPECTED:find(':', 1, true)))
  local committed = may_pass and ID ~= '' and redis.call('HGET', META, 'committed')
  if committed then
    if #refusal > MAX_MESSAGE then refusal = 'CIRCMAN_INVALID {"violations":[]}' end
    local till = server_time(tonumber(committed)) + LATE
    redis.pcall('HSET', IDS, ID, ('refused\n%.0f\n'):format(till) .. refusal)
  end
  error(result, 0)
end

return answer(AGE == '0' and commit_all or commit_again, 'string list hash hash hash hash zset hash', 9, 7)
