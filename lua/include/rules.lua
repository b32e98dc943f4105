-- rules: what a patch touched, checked against the JSON Schema keywords of the rules hash.
--
-- The rule of a member is the one at <place>/<name>, else the one at <place>/*; of an array's item, at <place>/-.
-- Levels: none checks nothing; standard what is there; strict also required members and unknown ones.
-- Every violation is collected: {"pointer":...,"keyword":...,"rule":{...},"value":...}.
local KIND = { [34] = 'string', [91] = 'array', [102] = 'boolean', [110] = 'null', [116] = 'boolean', [123] = 'object' }
local MOST_FIELDS = 4000 -- per HMGET: Lua's stack holds about 8,000

-- How an object of a patch stands to the state: its members were merged into those that were there; it made a
-- new object, and its nulls vanished; or it stands as it is, with its nulls (a set, an item of an array).
local MERGED, MADE, WHOLE = 1, 2, 3

-- The violations of the object `tree` (an array of JSON texts).
--   standing: MERGED, MADE or WHOLE; strict: whether the level is strict
--   rule_texts(places): the rules' JSON texts, false where there is none
local function violations_of(tree, standing, strict, rule_texts)
  local violations, rules, texts = {}, {}, {}
  local check_value

  local function violate(depth, keyword, place, value)
    if type(value) == 'table' then value = write_json(value) end
    if value and #value > 200 then value = quote(format('(%d bytes)', #value)) end
    violations[#violations + 1] = format('{"pointer":%s,"keyword":"%s","rule":%s,"value":%s}',
      pointer(depth), keyword, texts[place], value or 'null')
  end

  -- Reads the rules at those of `places` that are not known yet.
  local function learn(places)
    local unknown, n = {}, 0
    for i = 1, #places do
      local place = places[i]
      if rules[place] == nil then
        rules[place] = false
        n = n + 1
        unknown[n] = place
      end
    end
    for start = 1, n, MOST_FIELDS do
      local found = rule_texts({ unpack(unknown, start, math.min(start + MOST_FIELDS - 1, n)) })
      for i = 1, #found do
        if found[i] then
          local place = unknown[start + i - 1]
          local ok, rule = pcall(cjson.decode, found[i])
          if not ok or type(rule) ~= 'table' then corrupt(RULES, 'the rule at "' .. place .. '" is not a JSON object') end
          rules[place], texts[place] = rule, found[i]
        end
      end
    end
  end

  local function has_type(types, kind, text)
    if type(types) == 'table' then
      for _, one in ipairs(types) do
        if has_type(one, kind, text) then return true end
      end
      return false
    end
    return types == kind or (types == 'integer' and kind == 'number' and tonumber(text) == floor(tonumber(text)))
  end

  local function same_scalar(candidate, kind, text)
    if candidate == cjson.null then return kind == 'null' end
    if type(candidate) == 'boolean' then return text == tostring(candidate) end
    if type(candidate) == 'number' then return kind == 'number' and tonumber(text) == candidate end
    return kind == 'string' and plain(sub(text, 2, -2)) == candidate
  end

  local function among(candidates, kind, text)
    for _, candidate in ipairs(candidates) do
      if same_scalar(candidate, kind, text) then return true end
    end
    return false
  end

  local function check_number(rule, place, text, depth)
    local number = tonumber(text)
    if rule.minimum and number < rule.minimum then violate(depth, 'minimum', place, text) end
    if rule.maximum and number > rule.maximum then violate(depth, 'maximum', place, text) end
    if rule.exclusiveMinimum and number <= rule.exclusiveMinimum then violate(depth, 'exclusiveMinimum', place, text) end
    if rule.exclusiveMaximum and number >= rule.exclusiveMaximum then violate(depth, 'exclusiveMaximum', place, text) end
  end

  local function check_length(rule, place, text, depth)
    local _, length = gsub(plain(sub(text, 2, -2)), '[^\128-\191]', '') -- code points, not bytes
    if rule.minLength and length < rule.minLength then violate(depth, 'minLength', place, text) end
    if rule.maxLength and length > rule.maxLength then violate(depth, 'maxLength', place, text) end
  end

  local function check_scalar(rule, place, text, kind, depth)
    if kind == 'number' then
      check_number(rule, place, text, depth)
    elseif kind == 'string' and (rule.minLength or rule.maxLength) then
      check_length(rule, place, text, depth)
    end
    if rule.enum and not among(rule.enum, kind, text) then violate(depth, 'enum', place, text) end
    if rule.const ~= nil and not same_scalar(rule.const, kind, text) then violate(depth, 'const', place, text) end
    if rule.format == 'date-time' and kind == 'string' and not from_iso(plain(sub(text, 2, -2))) then
      violate(depth, 'format', place, text)
    end
  end

  local function check_items(place, text, depth)
    place = place .. '/-'
    learn({ place })
    if not rules[place] then return end
    local i, index = 2, 0
    while i < #text do
      local last = skip(text, i)
      local item = sub(text, i, last)
      if byte(item) == 123 then item = reread(item, depth + 1) end
      path[depth + 1] = index
      check_value(item, place, depth + 1, WHOLE)
      i, index = last + 2, index + 1
    end
  end

  local function check_required(tree, place, standing, depth)
    local required = rules[place] and rules[place].required
    if not required then return end
    for _, name in ipairs(required) do
      local key = sub(quote(name), 2, -2)
      local value = tree.values[key]
      local missing = not value
      if value == 'null' then missing = standing ~= WHOLE end -- merged: the patch removed it
      if standing == MERGED and not value then missing = false end -- not touched
      if missing then
        path[depth + 1] = key
        violate(depth + 1, 'required', place)
      end
    end
  end

  -- The members of the object `tree`, which stands at `place`.
  local function check_members(tree, place, standing, depth)
    local keys, values = tree.keys, tree.values
    local star, places = place .. '/*', {}
    for i, key in ipairs(keys) do places[i] = place .. '/' .. token(key) end
    local n = #keys
    places[n + 1], places[n + 2] = star, place
    learn(places)
    local closed = strict and rules[place] and rules[place].additionalProperties == false
    for i = 1, n do
      local key = keys[i]
      local value = values[key]
      local below = rules[places[i]] and places[i] or (rules[star] and star)
      path[depth + 1] = key
      if value ~= 'null' or standing == WHOLE then
        if below then
          check_value(value, below, depth + 1, standing)
        elseif closed then
          violate(depth + 1, 'additionalProperties', place, value)
        end
      end
    end
    if strict then check_required(tree, place, standing, depth) end
  end

  function check_value(value, place, depth, standing)
    local rule = rules[place]
    local kind = type(value) == 'table' and 'object' or KIND[byte(value)] or 'number'
    if rule.type and not has_type(rule.type, kind, value) then
      violate(depth, 'type', place, value)
    elseif kind == 'object' then
      check_members(value, place, value.made and MADE or standing, depth)
    else
      check_scalar(rule, place, value, kind, depth)
      if kind == 'array' then check_items(place, value, depth) end
    end
  end

  check_members(tree, '', standing, 0)
  return violations
end

-- Refuses with all violations, if there are any.
local function refuse_violations(violations)
  if violations[1] then refuse('INVALID', '{"violations":[' .. concat(violations, ',') .. ']}') end
end
