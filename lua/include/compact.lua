-- compact: history entries that hold the way back to their state in the place of the state.
--
-- That is a merge patch too, the inverse of the one that superseded them: merged into the state of the version after,
-- it gives theirs, byte for byte. Where no patch can (a removed member would come back in another place, a null
-- would vanish), the entry is a full one.

local inverse_of

-- What takes the place of `value`, a member of a patch, to go back to the text `old`; nil where nothing does.
local function way_back(old, value)
  if old:byte() ~= 123 then return old end
  if type(value) == 'table' then return inverse_of(old, value) end
  -- Merged into what is no object, it would lose its nulls.
  return not old:find(':null', 1, true) and old or nil
end

-- The tree of the merge patch that goes back behind the tree `patch` to the stored object `o`; nil where none does.
function inverse_of(o, patch)
  local keys, values, n, from, index = {}, {}, 0, 2, nil
  if #patch.keys > MOST_LOOKS then
    index = {}
    walk(o, nil, index)
  end
  for _, key in ipairs(patch.keys) do
    local value, name, first, last = patch.values[key], nil, nil, nil
    if not index then
      name, first, last = locate(o, key, from)
    elseif index[key] then
      name, first, last = unpack(index[key])
    end
    if name then from = o:byte(last + 1) == 44 and last + 2 or 2 end
    local old = not name and 'null' or way_back(o:sub(first, last), value)
    if not old then return nil end
    n = n + 1
    keys[n], values[key] = key, old
  end
  return { keys = keys, values = values }
end

-- The entry of the commit with the record `head` and the state `before`, which the tree `patch` turned into `after`.
local function compact_entry(head, before, patch, after)
  local inverse = inverse_of(before, patch)
  local text = inverse and write_json(inverse)
  if text and #text < #before and merge(after, inverse, inverse.keys) == before then
    return with_inverse(head, text)
  end
  return entry(head, before)
end

-- The state that the text of an inverse leads back to from `after`, the state of the version after it.
local function undone(after, text)
  tidied = true -- a commit wrote it
  local inverse = read_root(text)
  return merge(after, inverse, inverse.keys)
end
