-- members: a small JSON object as names and texts, and what they have to be.

local function bad_argument(reason) refuse('BAD_JSON', '{"reason":' .. told(reason) .. '}') end

-- The members of a JSON object as name, text, name, text, ...
local function members_of(text)
  local tree, flat = (read_json(text)), {}
  for _, key in ipairs(tree.keys) do
    flat[#flat + 1], flat[#flat + 2] = plain(key), write_json(tree.values[key])
  end
  return flat
end

local function is_count(text) return text:find('^[1-9]%d*$') and #text < 16 end -- a whole number to Lua and to Redis
local function is_text(text) return text:find('^"[^"]') end
local function is_one_of(...)
  local texts = {}
  for _, text in ipairs({ ... }) do texts[text] = true end
  return function(text) return texts[text] end
end

local SETTING = {
  history_length = is_count, max_bytes = is_count, auto_timestamp = is_one_of('0', '1'),
  history = is_one_of('"full"', '"compact"'),
}
local FACT_OF_MODEL = {
  model = is_text, model_hash = is_text, checks = is_one_of('"server"', '"python"'),
  validation = is_one_of('"none"', '"standard"', '"strict"'),
}

-- Refuses members that are not in `fits`, or whose text its function does not let pass.
local function check_members_of(members, fits, what)
  for i = 1, #members, 2 do
    local name, text = members[i], members[i + 1]
    if not fits[name] or not fits[name](text) then bad_argument('no such ' .. what .. ': ' .. name .. ' = ' .. text) end
  end
end

-- Refuses a model whose facts are not all there.
local function check_whole_model(facts)
  if #facts ~= 8 then bad_argument('a model has a name (model), a model_hash, checks and validation') end
end

-- The members of a JSON object of rules: JSON Pointer pattern, rule, ...
local function rules_of(text)
  local rules = members_of(text)
  for i = 1, #rules, 2 do
    local text = rules[i + 1]
    if text:byte() ~= 123 then bad_argument('the rule at "' .. rules[i] .. '" is not a JSON object') end
    local ok, rule = pcall(cjson.decode, text)
    if not ok or not is_rule(rule) then
      bad_argument('the rule at "' .. rules[i] .. '" has a keyword that is not what it should be: ' .. text)
    end
  end
  return rules
end

-- A published model has a rule for the root, a state is an object: a commit knows by it that the rules are there.
local function with_root(rules)
  for i = 1, #rules, 2 do
    if rules[i] == '' then return rules end
  end
  rules[#rules + 1], rules[#rules + 2] = '', '{"type":"object"}'
  return rules
end

-- The texts of members as a hash holds them: strings without their quotes.
local function unquoted(members)
  for i = 2, #members, 2 do
    local inside = members[i]:match('^"(.*)"$')
    if inside then members[i] = plain(inside) end
  end
  return members
end

-- @include pairs
