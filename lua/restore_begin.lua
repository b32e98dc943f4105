-- restore_begin: checks what a twin is restored from but its history, and lays it by. The twin itself stays as it is.
--
-- KEYS  1 state  2 restore  3 restore history  4 restore times
-- ARGV  1 token: random, 16 hexadecimal digits, the same in all calls of one restore
--       2 for how many milliseconds it is kept at most, if nothing comes after it
--       3 the state's text
--       4 the head record
--       5 settings, a JSON object: those that meta holds, the facts of the model, the digest
--       6 rules, a JSON object: JSON Pointer pattern -> rule
--       7 the model's JSON Schema text; '' for none
--       8 what a branch began with; '' for what is none
-- Returns the head's version
-- Errors  CIRCMAN_BAD_JSON
local STATE, RESTORE, RESTORE_HISTORY, RESTORE_TIMES = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local TOKEN, KEPT_MS, NEW_STATE, HEAD, SETTINGS, NEW_RULES, NEW_SCHEMA, NEW_ORIGIN =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
-- @include base
-- @include time
-- @include utf8
-- @include json
-- @include keywords
-- @include members
-- @include stored

local function is_digest(text) return text:find('^"[1-9]%d*:%x+"$') and #text:match(':(.*)"') == 40 end

local function check_digest(digest, version)
  local of, sha1 = digest:match('^"(%d+):(%x+)"$')
  if of + 0 > version then bad_copy('the digest is that of a version that is not there yet') end
  if of + 0 == version and redis.sha1hex and redis.sha1hex(NEW_STATE) ~= sha1 then
    bad_copy('the state is not what its commit wrote: its SHA-1 is another')
  end
end

-- Each setting alone, and the model as a whole.
local function check_settings(version)
  read_stored(SETTINGS, 'what stands in settings')
  local members, settings, model = members_of(SETTINGS), {}, {}
  for i = 1, #members, 2 do
    local name, text = members[i], members[i + 1]
    local into = FACT_OF_MODEL[name] and model or settings
    into[#into + 1], into[#into + 2] = name, text
    if name == 'digest' and is_digest(text) then check_digest(text, version) end
  end
  SETTING.digest = is_digest
  check_members_of(settings, SETTING, 'setting')
  check_members_of(model, FACT_OF_MODEL, 'fact of a model')
  if model[1] then check_whole_model(model) end
end

-- As fork.lua writes it. Its state is read by itself: it may be as deep as a document may be.
local function check_origin()
  local facts, state = NEW_ORIGIN:match(
    '^({"twin":"[^"]*","epoch":"%w*","version":[1-9]%d*,"committed_at":"[^"]*"),"state":(%b{})}$')
  if not facts then bad_copy('the origin is not what a branch began with') end
  read_stored(facts .. '}', 'the origin')
  read_stored(state, 'the state of the origin')
end

local function begin()
  if not TOKEN:find('^%x+$') or #TOKEN ~= 16 then bad_argument('a token is 16 hexadecimal digits') end
  if not is_count(KEPT_MS) then bad_argument('no number of milliseconds: ' .. KEPT_MS) end
  local facts = facts_of(HEAD, 'the head record')
  if HEAD:sub(facts.behind) ~= '}' then bad_copy('the head record does not end with its patch') end
  check_state_of(facts, NEW_STATE, 'the head')
  check_settings(facts.version)
  read_stored(NEW_RULES, 'what stands in rules')
  rules_of(NEW_RULES)
  if NEW_SCHEMA ~= '' then read_json(NEW_SCHEMA) end
  if NEW_ORIGIN ~= '' then check_origin() end
  check_right('HSET', RESTORE, '', '')
  check_right('UNLINK', RESTORE, RESTORE_HISTORY, RESTORE_TIMES)
  check_right('PEXPIRE', RESTORE, '1')
  redis.call('UNLINK', RESTORE, RESTORE_HISTORY, RESTORE_TIMES)
  local version, stamp, committed = ('%.0f'):format(facts.version), ('%.0f'):format(facts.stamp), ('%.0f'):format(facts.committed)
  redis.call('HSET', RESTORE, 'token', TOKEN, 'version', version, 'stamp', stamp, 'committed', committed,
    'state', NEW_STATE, 'head', HEAD, 'settings', SETTINGS, 'rules', NEW_RULES, 'schema', NEW_SCHEMA,
    'origin', NEW_ORIGIN, 'lowest', version, 'earliest', stamp, 'before', committed)
  redis.call('PEXPIRE', RESTORE, KEPT_MS)
  return facts.version
end

return answer(begin, 'string hash list zset', 4, 8)
