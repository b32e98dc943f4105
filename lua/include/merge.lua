-- merge: JSON Merge Patch (RFC 7396) on the stored text. Only what the patch names is cut out and replaced; all
-- that lies between is copied as it stands.
local MOST_LOOKS = 32 -- members of one object that are looked for one by one

local function not_stored_form() corrupt(STATE, 'is not in the stored form: something else wrote it') end

-- Where the value that starts at `i` of the stored text `o` ends.
local function skip(o, i)
  local first, last, _ = o:byte(i), nil, nil
  if first == 123 then
    _, last = o:find('^%b{}', i)
  elseif first == 91 then
    _, last = o:find('^%b[]', i)
  elseif first == 34 then
    last = o:find('"', i + 1, true)
  else
    _, last = o:find('^[%w.+-]+', i)
  end
  local behind = last and o:byte(last + 1)
  if behind == 44 or behind == 125 or behind == 93 then return last end
  not_stored_form()
end

-- Member by member, the sure way: finds `key` in the stored object `o`, or all members where `index` is given.
local function walk(o, key, index)
  if o == '{}' then return nil end
  local i, last = 2, nil
  repeat
    local closing = o:byte(i) == 34 and o:find('"', i + 1, true)
    if not closing or o:byte(closing + 1) ~= 58 then not_stored_form() end
    last = skip(o, closing + 2)
    local name = o:sub(i + 1, closing - 1)
    if name == key then return i, closing + 2, last end
    if index then index[name] = { i, closing + 2, last } end
    i = last + 2
  until o:byte(last + 1) ~= 44
end

-- Where `key` stands in the stored object `o`: the start of its name, the start and the end of its value.
-- `from` is where a member starts, to look from. The first thing there that looks like the member is the member,
-- if all that lies between is balanced; if not (a deeper member of the same name), or if the name stands elsewhere
-- (before `from`), the object is walked. A name that begins with , or : could be two strings that meet: walked too.
local function locate(o, key, from)
  local name = '"' .. key .. '":'
  local at = o:find(name, from, true)
  if not at then
    if o:find('"' .. key .. '"', 2, true) then return walk(o, key) end
    return nil
  end
  if at > from then
    local first = key:byte()
    local sure = first ~= 44 and first ~= 58 and o:byte(at - 1) == 44
    if not sure or not ('{' .. o:sub(from, at - 1) .. '}'):find('^%b{}$') then return walk(o, key) end
  end
  local value = at + #name
  return at, value, skip(o, value)
end

-- All members of `o` by name, as locate tells them; and `keys` in the order in which they stand there. Those that
-- do not stand there come last, in their own order.
local function index_and_order(o, keys)
  local index, places, sorted = {}, {}, {}
  walk(o, nil, index)
  for i, key in ipairs(keys) do
    places[key] = index[key] and index[key][1] or #o + i
    sorted[i] = key
  end
  table.sort(sorted, function(a, b) return places[a] < places[b] end)
  return index, sorted
end

-- The stored object `o` with the tree `patch` merged in; `keys` is the order of its members to go by, `index` all
-- members of `o`. It is made where the order is another than the object's, or the keys are many: to look for each
-- of them would take as many walks. Marks the objects of the patch that made a new object (`made`): their required
-- members are checked too.
local function merge(o, patch, keys, index)
  if not index and #keys > MOST_LOOKS then
    index, keys = index_and_order(o, keys)
  end
  local values, parts, n, behind, added = patch.values, {}, 0, 1, {}
  for i = 1, #keys do
    local key = keys[i]
    local value = values[key]
    local name, first, last
    if not index then
      name, first, last = locate(o, key, behind > 1 and behind + 1 or 2)
      if name and name < behind then
        index, keys = index_and_order(o, keys)
        return merge(o, patch, keys, index)
      end
    elseif index[key] then
      name, first, last = unpack(index[key])
    end
    if value == 'null' then
      if name then
        n = n + 1
        parts[n] = o:sub(behind, name > 2 and name - 2 or 1) -- with the comma before it
        behind = last + 1
      end
    else
      if type(value) == 'table' then
        if name and o:byte(first) == 123 then
          value = merge(o:sub(first, last), value, value.keys)
        else
          value.made = true
          value = write_json(value, true)
        end
      end
      if name then
        parts[n + 1], parts[n + 2] = o:sub(behind, first - 1), value
        n, behind = n + 2, last + 1
      else
        added[#added + 1] = '"' .. key .. '":' .. value
      end
    end
  end
  parts[n + 1] = o:sub(behind, -2)
  local text = table.concat(parts)
  if text:byte(2) == 44 then text = '{' .. text:sub(3) end -- the first member went, and left its comma
  if added[1] then return text .. (text == '{' and '' or ',') .. table.concat(added, ',') .. '}' end
  return text .. '}'
end
