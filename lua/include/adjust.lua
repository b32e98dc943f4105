-- adjust: atomic arithmetic. JSON Pointer -> number to add becomes the merge patch with the sums.
local EXACT = 9007199254740992 -- 2^53: up to here every integer is a double

-- The shortest text that reads back as the double `number`, always with a point or an exponent.
local function shortest(number)
  local text
  for digits = 15, 17 do
    text = format('%.' .. digits .. 'g', number)
    if tonumber(text) == number then break end
    if digits == 16 and math.abs(math.frexp(number)) == 0.5 then
      -- Below a power of two doubles lie closer: the next decimal up may do where the nearest does not.
      local mantissa, exponent = match(format('%.15e', number), '^(.-)(e.*)$')
      local carried, more = gsub(string.reverse(mantissa), '^(9*%.?9*)([0-8])', function(nines, digit)
        return gsub(nines, '9', '0') .. (digit + 1)
      end)
      local up = string.reverse(carried) .. exponent
      if more == 1 and tonumber(up) == number then
        text = up
        break
      end
    end
  end
  text = gsub(text, 'e%+?(%-?)0*(%d)', 'e%1%2')
  return find(text, '[.e]') and text or text .. '.0'
end

-- The text of `old` + `delta` (both texts of numbers), or nil and the reason.
local function sum(old, delta)
  local result = tonumber(old) + tonumber(delta)
  if find(old .. delta, '[.eE]') then
    if result - result ~= 0 then return nil, 'the sum is not finite' end
    return shortest(result)
  end
  for _, number in ipairs({ tonumber(old), tonumber(delta), result }) do
    if math.abs(number) > EXACT then return nil, 'beyond 2^53, where integers are not exact' end
  end
  return format('%.0f', result)
end

-- The value at the JSON Pointer `place` of `state`, with the names on the way; or nil and the reason.
local function number_at(state, place)
  if byte(place) ~= 47 then return nil, 'not a JSON Pointer to a member' end
  local names, value = {}, state
  for escaped in string.gmatch(place, '/([^/]*)') do
    local name = sub(quote(gsub(gsub(escaped, '~1', '/'), '~0', '~') .. ''), 2, -2)
    local _, first, last
    if byte(value) == 123 then _, first, last = locate(value, name) end
    if not first then return nil, 'there is nothing (a pointer reaches members of objects, not items of arrays)' end
    names[#names + 1], value = name, sub(value, first, last)
  end
  if not find(value, '^[%d-]') then return nil, 'there is no number', value end
  return value, names
end

-- The merge patch that adds each of the numbers in `tree` at its pointer to the state. All or none.
local function adjustment(state, tree)
  local patch, violations = { keys = {}, values = {} }, {}
  for _, key in ipairs(tree.keys) do
    local delta, place = tree.values[key], plain(key)
    local reason, names, value, text
    if type(delta) == 'table' or not find(delta, '^[%d-]') then
      reason = 'the number to add is not a number'
    else
      value, names, text = number_at(state, place)
      if value then text, reason = value, nil else reason = names end
      if value then value, reason = sum(value, delta) end
    end
    if reason then
      violations[#violations + 1] = format('{"pointer":%s,"keyword":"adjust","rule":{"adjust":%s},"value":%s}',
        quote(place), quote(reason), text and #text <= 200 and text or 'null')
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
