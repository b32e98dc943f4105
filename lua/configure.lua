-- configure: publishes a twin's model (its rules and its schema), and changes its settings.
--
-- KEYS  1 state  2 history  3 meta  4 rules  5 schema
-- ARGV  1 mode: adopt (only where the twin has no model yet), publish (in the place of the one it has, if the
--         state fits), force (in its place, whatever the state holds)
--       2 settings, a JSON object with any of: history_length, max_bytes, auto_timestamp (0 or 1)
--       3 model, a JSON object: model (its name), model_hash, checks (server or python), validation (the level);
--         '' to leave the model as it is
--       4 rules, a JSON object: JSON Pointer pattern -> rule; '' with no model
--       5 the model's JSON Schema text; '' with no model
-- Returns 1 where the model was published, else 0
-- Errors  CIRCMAN_INVALID (the state does not fit the new rules) CIRCMAN_BAD_JSON CIRCMAN_CORRUPT
local STATE, HISTORY, META, RULES, SCHEMA = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local MODE, SETTINGS, MODEL, NEW_RULES, NEW_SCHEMA = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ID, ACTOR = '', ''
-- @include base
-- @include time
-- @include json
-- @include merge
-- @include rules
-- @include twin

local MOST_PAIRS = 2000

-- The members of a JSON object as name, text, name, text, ...; strings without their quotes.
local function pairs_of(text, keep_json)
  local tree, flat = (read_json(text)), {}
  for _, key in ipairs(tree.keys) do
    local value = write_json(tree.values[key])
    if not keep_json and value:byte() == 34 then value = plain(value:sub(2, -2)) end
    flat[#flat + 1], flat[#flat + 2] = plain(key), value
  end
  return flat
end

local function check_settings(flat)
  local allowed = { history_length = '^[1-9]%d*$', max_bytes = '^[1-9]%d*$', auto_timestamp = '^[01]$' }
  for i = 1, #flat, 2 do
    if not allowed[flat[i]] or not flat[i + 1]:find(allowed[flat[i]]) then
      refuse('BAD_JSON', '{"reason":' .. quote('no such setting: ' .. flat[i] .. ' = ' .. flat[i + 1]) .. '}')
    end
  end
end

-- The new rules against the state that is there, before they bind.
local function check_state(twin, rules, validation)
  if not twin.state or validation == 'none' or MODE == 'force' then return end
  local texts = {}
  for i = 1, #rules, 2 do texts[rules[i]] = rules[i + 1] end
  local function rule_texts(places)
    local found = {}
    for i, place in ipairs(places) do found[i] = texts[place] or false end
    return found
  end
  refuse_violations(violations_of(read_json(twin.state), WHOLE, validation == 'strict', rule_texts))
end

local function write_rules(rules)
  redis.call('UNLINK', RULES)
  for start = 1, #rules, MOST_PAIRS do
    redis.call('HSET', RULES, unpack(rules, start, math.min(start + MOST_PAIRS - 1, #rules)))
  end
  redis.call('SET', SCHEMA, NEW_SCHEMA)
end

local function configure()
  local twin = read_twin()
  -- A wrong type is met before anything is written.
  redis.call('LLEN', HISTORY)
  redis.call('HLEN', RULES)
  redis.call('STRLEN', SCHEMA)
  local settings = pairs_of(SETTINGS)
  check_settings(settings)
  local publish = MODEL ~= '' and not (MODE == 'adopt' and twin.model_hash)
  local rules
  if publish then
    local model = pairs_of(MODEL)
    rules = pairs_of(NEW_RULES, true)
    local validation = 'standard'
    for i = 1, #model, 2 do
      if model[i] == 'validation' then validation = model[i + 1] end
      settings[#settings + 1], settings[#settings + 2] = model[i], model[i + 1]
    end
    check_state(twin, rules, validation)
  end
  if settings[1] then redis.call('HSET', META, unpack(settings)) end
  if publish then write_rules(rules) end
  local length = redis.call('HGET', META, 'history_length')
  if length and twin.state then redis.call('LTRIM', HISTORY, 0, tonumber(length) - 1) end
  return publish and 1 or 0
end

return answer(configure, { 'string', 'list', 'hash', 'hash', 'string' })
