-- adjust: atomic arithmetic. JSON Pointer -> number to add becomes the merge patch with the sums.
local EXACT = 9007199254740992 -- 2^53: up to here every integer is a double

-- The shortest text that reads back as the double `number`, always with a point or an exponent.
local function shortest(number)
  local text
  -- 15 digits are enough for all that need fewer, but not among the subnormals: those have fewer digits to begin with.
  for digits = math.abs(number) < 2.2250738585072014e-308 and 1 or 15, 17 do
    text = ('%.' .. digits .. 'g'):format(number)
    if tonumber(text) == number then break end
    if digits == 16 and math.abs(math.frexp(number)) == 0.5 then
      -- Below a power of two doubles lie closer: the next decimal up may do where the nearest does not.
      local mantissa, exponent = ('%.15e'):format(number):match('^(.-)(e.*)$')
      local carried, more = mantissa:reverse():gsub('^(9*%.?9*)([0-8])', function(nines, digit)
        return nines:gsub('9', '0') .. (digit + 1)
      end)
      local up = carried:reverse() .. exponent
      if more == 1 and tonumber(up) == number then
        text = up
        break
      end
    end
  end
  text = text:gsub('e%+?(%-?)0*(%d)', 'e%1%2')
  return text:find('[.e]') and text or text .. '.0'
end

-- Whether the double `number` is exactly the integer that `text` says.
local function is_exact(number, text) return math.abs(number) <= EXACT and ('%.0f'):format(number) == text end

-- The text of `old` + `delta` (both texts of numbers), or nil and the reason.
local function sum(old, delta)
  local a, b = tonumber(old), tonumber(delta)
  local result = a + b
  if (old .. delta):find('[.eE]') then
    if result - result ~= 0 then return nil, 'the sum is not finite' end
    return shortest(result)
  end
  -- 2^53 + 1 rounds to 2^53, so it takes a look back to tell whether a sum of 2^53 is one.
  if not (is_exact(a, old) and is_exact(b, delta)) or math.abs(result) > EXACT or result - a ~= b then
    return nil, 'beyond 2^53, where integers are not exact'
  end
  return ('%.0f'):format(result)
end

-- The text of the member `name` of the stored value `o`, or nil. Where there are many places to look at, `indexes`
-- keeps the members of every object that was looked into.
local function member_of(o, name, indexes)
  if o:byte() ~= 123 then return nil end
  if not indexes then
    local _, first, last = locate(o, name, 2)
    return first and o:sub(first, last)
  end
  if not indexes[o] then
    indexes[o] = {}
    walk(o, nil, indexes[o])
  end
  local found = indexes[o][name]
  if not found then return nil end
  found.text = found.text or o:sub(found[2], found[3])
  return found.text
end

-- The value at the JSON Pointer `place` of `state`, with the names on the way; or nil and the reason.
local function number_at(state, place, indexes)
  if place:byte() ~= 47 or place:find('~[^01]') or place:byte(-1) == 126 then
    return nil, 'not a JSON Pointer to a member'
  end
  local names, value = {}, state
  for escaped in place:gmatch('/([^/]*)') do
    local name = quote((escaped:gsub('~1', '/'):gsub('~0', '~'))):sub(2, -2)
    value = member_of(value, name, indexes)
    if not value then return nil, 'there is nothing (a pointer reaches members of objects, not items of arrays)' end
    names[#names + 1] = name
  end
  if not value:find('^[%d-]') then return nil, 'there is no number', value end
  return value, names
end

-- The merge patch that adds each of the numbers in `tree` at its pointer to the state. All or none.
local function adjustment(state, tree)
  local patch, violations, indexes = { keys = {}, values = {} }, {}, #tree.keys > MOST_LOOKS and {} or nil
  for _, key in ipairs(tree.keys) do
    local delta, place = tree.values[key], plain(key)
    local reason, names, value, text
    if type(delta) == 'table' or not delta:find('^[%d-]') then
      reason = 'the number to add is not a number'
    else
      value, names, text = number_at(state, place, indexes)
      if value then text, reason = value, nil else reason = names end
      if value then value, reason = sum(value, delta) end
    end
    if reason then
      violations[#violations + 1] = ('{"pointer":%s,"keyword":"adjust","rule":{"adjust":%s},"value":%s}')
        :format(quote(place), quote(reason), text and #text <= 200 and text or 'null')
    else
      local node = patch
      for i = 1, #names do
        local name = names[i]
        if not node.values[name] then
          node.keys[#node.keys + 1] = name
          node.values[name] = i < #names and { keys = {}, values = {} } or value
        end
        node = node.values[name]
      end
    end
  end
  refuse_violations(violations)
  return patch
end
