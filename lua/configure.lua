-- configure: publishes a twin's model (its rules and its schema), and changes its settings.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema
-- ARGV  1 mode: adopt (only where the twin has no model yet, whatever the state holds), publish (in the place of
--         the one it has, if the state fits), force (in its place, whatever the state holds)
--       2 settings, a JSON object with any of: history_length, max_bytes, auto_timestamp (0 or 1),
--         history ("full" or "compact")
--       3 model, a JSON object: model (its name), model_hash, checks (server or python), validation (the level);
--         '' to leave the model as it is
--       4 rules, a JSON object: JSON Pointer pattern -> rule; '' with no model
--       5 the model's JSON Schema text; '' with no model
-- Returns 1 where the model was published, else 0
-- Errors  CIRCMAN_INVALID (the state does not fit the new rules) CIRCMAN_BAD_JSON CIRCMAN_CORRUPT
local STATE, HISTORY, META, RULES, SCHEMA = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local MODE, SETTINGS, MODEL, NEW_RULES, NEW_SCHEMA = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- @include base
-- @include time
-- @include utf8
-- @include json
-- @include merge
-- @include keywords
-- @include rules
-- @include record
-- @include twin
-- @include members

-- The facts of the model as meta holds them, and its level.
local function read_model()
  local facts = members_of(MODEL)
  check_members_of(facts, FACT_OF_MODEL, 'fact of a model')
  check_whole_model(facts)
  unquoted(facts)
  for i = 1, #facts, 2 do
    if facts[i] == 'validation' then return facts, facts[i + 1] end
  end
end

-- The new rules against the state that is there, before they take the place of others.
local function check_state(twin, rules, validation)
  if not twin.state or validation == 'none' or MODE ~= 'publish' then return end
  local texts = {}
  for i = 1, #rules, 2 do texts[rules[i]] = rules[i + 1] end
  local function rule_texts(places)
    local found = {}
    for i, place in ipairs(places) do found[i] = texts[place] or false end
    return found
  end
  refuse_violations(violations_of(read_json(twin.state), WHOLE, validation == 'strict', rule_texts))
end

local function configure()
  if MODE ~= 'adopt' and MODE ~= 'publish' and MODE ~= 'force' then bad_argument('unknown mode ' .. MODE) end
  local twin = read_twin()
  -- A wrong type is met before anything is written.
  local entries = check_entries(twin)
  redis.call('HLEN', RULES)
  redis.call('STRLEN', SCHEMA)
  local fields = members_of(SETTINGS)
  check_members_of(fields, SETTING, 'setting')
  unquoted(fields)
  local publish = MODEL ~= '' and not (MODE == 'adopt' and twin.model_hash)
  local rules
  if publish then
    local facts, validation = read_model()
    for _, text in ipairs(facts) do fields[#fields + 1] = text end
    rules = with_root(rules_of(NEW_RULES))
    read_json(NEW_SCHEMA)
    check_state(twin, rules, validation)
  end
  check_right('HSET', META, '', '')
  check_right('UNLINK', RULES)
  check_right('HSET', RULES, '', '')
  check_right('SET', SCHEMA, '')
  check_right('LTRIM', HISTORY, '0', '0')
  if fields[1] then redis.call('HSET', META, unpack(fields)) end
  if publish then
    redis.call('UNLINK', RULES)
    write_pairs(RULES, rules)
    redis.call('SET', SCHEMA, NEW_SCHEMA)
  end
  local length = redis.call('HGET', META, 'history_length')
  if length and twin.state then
    redis.call('LTRIM', HISTORY, 0, tonumber(length) - 1)
    redis.call('HSET', META, 'entries', ('%.0f'):format(math.min(entries, tonumber(length))))
  end
  return publish and 1 or 0
end

return answer(configure, 'string list hash hash string', 5, 5)
