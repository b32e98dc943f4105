-- rules: what a patch touched, checked against the JSON Schema keywords of the rules hash.
--
-- The rule of a member is the one at <place>/<name>, else the one at <place>/*; of an array's item, at <place>/-.
-- Levels: none checks nothing; standard what is there; strict also required members and unknown ones.
-- Every violation is collected: {"pointer":...,"keyword":...,"rule":{...},"value":...}.
local KIND = { [34] = 'string', [91] = 'array', [102] = 'boolean', [110] = 'null', [116] = 'boolean', [123] = 'object' }
local MOST_FIELDS = 4000 -- per HMGET: Lua's stack holds about 8,000
local MOST_TOLD = 262144 -- bytes of violations; those beyond are left out: each repeats its rule, which may be long

-- How an object of a patch stands to the state: its members were merged into those that were there; it made a
-- new object, and its nulls vanished; or it stands as it is, with its nulls (a set, an item of an array).
local MERGED, MADE, WHOLE = 1, 2, 3

-- Whether `types`, a name or a list of names, has the kind of the value.
local function has_type(types, kind, text)
  if type(types) == 'table' then
    for _, one in ipairs(types) do
      if has_type(one, kind, text) then return true end
    end
    return false
  end
  return types == kind or (types == 'integer' and kind == 'number' and tonumber(text) == math.floor(tonumber(text)))
end

-- The JSON scalars `candidates` as keys of a table, so that a long enum on many members is not gone through for each.
local function set_of(candidates)
  local set = {}
  for _, candidate in ipairs(candidates) do
    local kind = type(candidate)
    if candidate == cjson.null then
      set.null = true
    elseif kind == 'boolean' then
      set[tostring(candidate)] = true
    elseif kind == 'string' then
      set['"' .. candidate] = true
    elseif kind == 'number' and candidate == candidate then -- cjson reads NaN, which is no key
      set[candidate] = true
    end
  end
  return set
end

-- Whether the value is one of the scalars in `set`.
local function among(set, kind, text)
  if kind == 'number' then return set[tonumber(text)] end
  if kind == 'string' then return set['"' .. plain(text:sub(2, -2))] end
  return kind ~= 'object' and kind ~= 'array' and set[text]
end

-- Calls `violate` with each keyword of `rule` that the value breaks; its type was checked before.
local function check_keywords(rule, text, kind, violate)
  if kind == 'number' then
    local number = tonumber(text)
    if rule.minimum and number < rule.minimum then violate('minimum') end
    if rule.maximum and number > rule.maximum then violate('maximum') end
    if rule.exclusiveMinimum and number <= rule.exclusiveMinimum then violate('exclusiveMinimum') end
    if rule.exclusiveMaximum and number >= rule.exclusiveMaximum then violate('exclusiveMaximum') end
  elseif kind == 'string' and (rule.minLength or rule.maxLength) then
    local _, length = plain(text:sub(2, -2)):gsub('[^\128-\191]', '') -- code points, not bytes
    if rule.minLength and length < rule.minLength then violate('minLength') end
    if rule.maxLength and length > rule.maxLength then violate('maxLength') end
  end
  if rule.enum and not among(rule.enum, kind, text) then violate('enum') end
  if rule.const and not among(rule.const, kind, text) then violate('const') end
  if rule.format == 'date-time' and kind == 'string' and not from_iso(plain(text:sub(2, -2))) then violate('format') end
end

-- The violations of the object `tree` (an array of JSON texts).
--   standing: MERGED, MADE or WHOLE; strict: whether the level is strict
--   rule_texts(places): the rules' JSON texts, false where there is none
local function violations_of(tree, standing, strict, rule_texts)
  local violations, rules, texts, bytes = {}, {}, {}, 0
  local check_value, at_depth, at_place, at_value

  -- Adds a violation at the value that is looked at.
  local function violate(keyword)
    if bytes > MOST_TOLD then return end
    local value = at_value
    if type(value) == 'table' then value = write_json(value) end
    if value and #value > 200 then value = quote(('(%d bytes)'):format(#value)) end
    local violation = ('{"pointer":%s,"keyword":"%s","rule":%s,"value":%s}')
      :format(pointer(at_depth), keyword, texts[at_place], value or 'null')
    violations[#violations + 1], bytes = violation, bytes + #violation
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
        local text = found[i]
        if text then
          local place = unknown[start + i - 1]
          local ok, rule = pcall(cjson.decode, text)
          if not ok or not is_rule(rule) then corrupt(RULES, 'the rule at "' .. place .. '" is none: something else wrote it') end
          rule.enum = rule.enum and set_of(rule.enum)
          rule.const = rule.const ~= nil and set_of({ rule.const }) or nil
          rules[place], texts[place] = rule, text
        end
      end
    end
  end

  local function check_items(place, text, depth)
    place = place .. '/-'
    learn({ place })
    if not rules[place] then return end
    local i, index = 2, 0
    while i < #text do
      local last = skip(text, i)
      local item = text:sub(i, last)
      if item:byte() == 123 then
        tidied = true -- it was read before
        item = read_object(item, 1, depth + 2)
      end
      path[depth + 1] = index
      check_value(item, place, depth + 1, WHOLE)
      i, index = last + 2, index + 1
    end
  end

  local function check_required(tree, place, standing, depth)
    for _, name in ipairs(rules[place].required) do
      local key = quote(name):sub(2, -2)
      local value = tree.values[key]
      local missing = not value and standing ~= MERGED -- merged and not named: not touched
      if value == 'null' then missing = standing ~= WHOLE end -- the patch removed it
      if missing then
        path[depth + 1] = key
        at_depth, at_place, at_value = depth + 1, place, nil
        violate('required')
      end
    end
  end

  -- The members of the object `tree`, which stands at `place`.
  local function check_members(tree, place, standing, depth)
    local keys, values = tree.keys, tree.values
    local star, places, n = place .. '/*', {}, #keys
    for i = 1, n do places[i] = place .. '/' .. token(keys[i]) end
    places[n + 1], places[n + 2] = star, place
    learn(places)
    local rule = strict and rules[place]
    for i = 1, n do
      local key = keys[i]
      local value = values[key]
      local below = rules[places[i]] and places[i] or (rules[star] and star)
      path[depth + 1] = key
      if value ~= 'null' or standing == WHOLE then
        if below then
          check_value(value, below, depth + 1, standing)
        elseif rule and rule.additionalProperties == false then
          at_depth, at_place, at_value = depth + 1, place, value
          violate('additionalProperties')
        end
      end
    end
    if rule and rule.required then check_required(tree, place, standing, depth) end
  end

  function check_value(value, place, depth, standing)
    local rule = rules[place]
    local kind = type(value) == 'table' and 'object' or KIND[value:byte()] or 'number'
    local types = rule.type
    at_depth, at_place, at_value = depth, place, value
    if types and types ~= kind and not has_type(types, kind, value) then
      violate('type')
    else
      check_keywords(rule, value, kind, violate)
      if kind == 'object' then
        check_members(value, place, value.made and MADE or standing, depth)
      elseif kind == 'array' then
        check_items(place, value, depth)
      end
    end
  end

  check_members(tree, '', standing, 0)
  return violations
end

-- Refuses with all violations, if there are any.
local function refuse_violations(violations)
  if violations[1] then refuse('INVALID', '{"violations":[' .. table.concat(violations, ',') .. ']}') end
end
