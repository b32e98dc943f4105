-- merge: JSON Merge Patch (RFC 7396) on the stored text. Only what the patch names is cut out and replaced; all
-- that lies between is copied as it stands.

local function corrupt(key, reason)
  refuse('CORRUPT', format('{"key":%s,"reason":%s}', quote(key), quote(reason)))
end

-- Where the value that starts at `i` of the stored text `o` ends.
local function skip(o, i)
  local first, last, _ = byte(o, i), nil, nil
  if first == 123 then
    _, last = find(o, '^%b{}', i)
  elseif first == 91 then
    _, last = find(o, '^%b[]', i)
  elseif first == 34 then
    last = find(o, '"', i + 1, true)
  else
    last = find(o, '[,}%]]', i)
    last = last and last - 1
  end
  return last or corrupt(STATE, 'the state is not in the stored form')
end

-- Member by member: the sure way to find `key` in the stored object `o`.
local function walk(o, key)
  local i = 2
  while byte(o, i) == 34 do
    local closing = find(o, '"', i + 1, true) or corrupt(STATE, 'the state is not in the stored form')
    local last = skip(o, closing + 2)
    if sub(o, i + 1, closing - 1) == key then return i, closing + 2, last end
    i = last + 2
  end
end

-- Where `key` stands in the stored object `o`: the start of its name, the start and the end of its value.
-- The first place that looks like it is the place where all that comes before it is balanced; where not
-- (a deeper member of the same name), the object is walked. A name that begins with , or : could be two
-- strings that meet, so it is walked for too.
local function locate(o, key)
  local name = '"' .. key .. '":'
  local at = find(o, name, 2, true)
  if not at then return nil end
  if at > 2 then
    local first = byte(key)
    if first == 44 or first == 58 or not find('{' .. sub(o, 2, at - 1) .. '}', '^%b{}$') then return walk(o, key) end
  end
  local value = at + #name
  return at, value, skip(o, value)
end

local function by_position(a, b) return a[1] < b[1] end

-- The stored object `o` with the tree `patch` merged in. Marks the objects of the patch that made a new object
-- (`made`): their required members are checked too.
local function merge(o, patch)
  local edits, n, added = {}, 0, {}
  for _, key in ipairs(patch.keys) do
    local value = patch.values[key]
    local name, first, last = locate(o, key)
    if value == 'null' then
      if name then
        n = n + 1
        edits[n] = { name > 2 and name - 1 or name, last, '' }
      end
    else
      if type(value) == 'table' then
        if name and byte(o, first) == 123 then
          value = merge(sub(o, first, last), value)
        else
          value.made = true
          value = write_json(value, true)
        end
      end
      if name then
        n = n + 1
        edits[n] = { first, last, value }
      else
        added[#added + 1] = '"' .. key .. '":' .. value
      end
    end
  end
  if n > 1 then table.sort(edits, by_position) end
  local parts, behind = {}, 1
  for i = 1, n do
    local edit = edits[i]
    parts[2 * i - 1], parts[2 * i] = sub(o, behind, edit[1] - 1), edit[3]
    behind = edit[2] + 1
  end
  parts[2 * n + 1] = sub(o, behind, -2)
  local text = concat(parts)
  if byte(text, 2) == 44 then text = '{' .. sub(text, 3) end -- the first member went, and left its comma
  if added[1] then
    text = text .. (text == '{' and '' or ',') .. concat(added, ',')
  end
  return text .. '}'
end
