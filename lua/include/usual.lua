-- usual: the usual merge, in one walk over the patch: members that are there get another string, number or boolean.
--
-- Whatever else a patch may hold, and whatever is wrong with it, is answered with nil: the parts that know everything
-- (json, merge, rules) are made then, and start anew. So this one only has to be sure of what it says yes to.
-- Arrays are made with room for eight: to let them grow takes longer than to fill them. How much it looks at is bounded,
-- so that no patch makes it slow: each level and each member out of order may take a look at the whole state.
local MOST_NAME, MOST_MEMBERS, MOST_DEPTH = 64, 3000, 16

-- The string, number or boolean at `i` of the patch, whose first byte is `first`, and the position behind it; nil where
-- it takes a closer look.
local function usual_scalar(patch, i, first)
  if first == 34 then
    local _, last = patch:find('^"[%w_:.+ -]*"', i)
    if not last then _, last = patch:find('^"[ !#-Z^-z|~]*"', i) end
    if last then return patch:sub(i, last), last + 1 end
    return nil
  end
  local text, behind = patch:match('^(%-?[1-9]%d*%.%d+)()[,}]', i)
  if not text then text, behind = patch:match('^(%-?[1-9]%d*)()[,}]', i) end
  if not text and first == 48 then
    text, behind = patch:match('^(0%.%d+)()[,}]', i)
    if not text then text, behind = patch:match('^(0)()[,}]', i) end
  end
  if text then return #text < 18 and text, behind end
  text, behind = patch:match('^(%l+)()[,}]', i)
  return (text == 'true' or text == 'false') and text, behind
end

-- Where the stored value that starts at `first` ends, and what stands behind it: a comma or a brace; nil where it is neither.
local function usual_end(state, first)
  local number_end, behind = state:match('^%-?%d+%.%d+()([,}])', first)
  if not number_end then number_end, behind = state:match('^[%w.+-]+()([,}])', first) end
  if number_end then return number_end - 1, behind end
  local c, last, _ = state:byte(first), nil, nil
  if c == 34 then
    last = state:find('"', first + 1, true)
  elseif c == 123 then
    _, last = state:find('^%b{}', first)
  elseif c == 91 then
    _, last = state:find('^%b[]', first)
  end
  behind = last and state:sub(last + 1, last + 1)
  if behind == ',' or behind == '}' then return last, behind end
end

-- Whether a member of the same object as the one at `beside` begins at `at`. Deeper down, or in a later object, it does
-- not: what lies between is not balanced then. A long way goes by some members first, for to copy it takes time.
local function is_beside(state, beside, at)
  local steps = at - beside > 1000 and 8 or 0
  while steps > 0 and beside < at do
    local quote_at = state:byte(beside) == 34 and state:find('"', beside + 1, true)
    if not quote_at or state:byte(quote_at + 1) ~= 58 then return false end
    local last, c = usual_end(state, quote_at + 2)
    if c ~= ',' then return false end
    beside, steps = last + 2, steps - 1
  end
  if beside >= at then return beside == at end
  return state:byte(at - 1) == 44 and ('{' .. state:sub(beside, at - 1) .. '}'):find('^%b{}$')
end

-- Where the member of the object begins in which the one at `beside` is, at `from` or behind; nil where that is not clear.
-- `tail`: its name with the quote and the colon behind. Quotes are the most frequent byte, so they are not looked for at
-- first; but longer names may end in the same way.
local function usual_place(state, tail, from, beside)
  local at = state:find(tail, from, true)
  if at and state:byte(at - 1) ~= 34 then
    at = state:find('"' .. tail, at, true)
    at = at and at + 1
  end
  return at and (at - 1 == beside or is_beside(state, beside, at - 1)) and at - 1
end

-- Whether the scalar `text` (an object where it is false) fits the rule with this JSON text for sure.
--   rules: those that were read before, by their text; date: a string that is known to be a date-time
local function surely_fits(rules, json, text, date)
  local rule = rules[json]
  if not rule then
    local ok
    ok, rule = pcall(cjson.decode, json)
    if not ok or not is_rule(rule) or rule.enum or rule.const ~= nil then return false end
    rules[json] = rule
  end
  if not text then return rule.type == 'object' end
  local kind, first = rule.type, text:byte()
  if first == 34 then
    if kind ~= 'string' or (rule.format and text ~= date) then return false end
    return #text - 2 >= (rule.minLength or 0) and #text - 2 <= (rule.maxLength or #text) -- ASCII: bytes are characters
  end
  if first == 116 or first == 102 then return kind == 'boolean' end
  if kind ~= 'number' and (kind ~= 'integer' or text:find('.', 1, true)) then return false end
  local number, least, most = tonumber(text), rule.minimum, rule.maximum
  if (least and number < least) or (most and number > most) then return false end
  local above, below = rule.exclusiveMinimum, rule.exclusiveMaximum
  return not ((above and number <= above) or (below and number >= below))
end

-- Whether all members of the patch fit the rules for sure. Level by level: which rules the members of an object have
-- hangs on which one it has itself, its own or that for any other member.
--   rules: those that are known already: JSON text by place, false where there is none. The root's has to be there;
--     true where it need not be
--   levels: the members of each level; names, texts (false for objects), parents (0 for the root): by member
local function surely_valid(rules, levels, names, texts, parents, strict, date)
  local places, stars = { [0] = '', nil, nil, nil, nil, nil, nil, nil, nil }, { nil, nil, nil, nil }
  for depth = 1, #levels do
    local level, unknown, n = levels[depth], { nil, nil, nil, nil, nil, nil, nil, nil }, 0
    if rules[''] == nil then n, unknown[1] = 1, '' end
    for i = 1, #level do
      local m = level[i]
      local parent = parents[m]
      local around = places[parent]
      if around then
        local place = around .. '/' .. names[m]
        places[m] = place
        if rules[place] == nil then
          n = n + 1
          unknown[n] = place
        end
        if not stars[parent] then
          place = around .. '/*'
          stars[parent] = place
          if rules[place] == nil then
            n = n + 1
            unknown[n] = place
          end
        end
      end
    end
    if n > 0 then
      local found = redis.call('HMGET', RULES, unpack(unknown))
      for i = 1, n do rules[unknown[i]] = found[i] end
      if not rules[''] then return false end
    end
    for i = 1, #level do
      local m = level[i]
      local place = places[m]
      if place then
        local json = rules[place]
        if not json then
          place = stars[parents[m]]
          json = rules[place]
          places[m] = json and place
        end
        if json then
          if not surely_fits(rules, json, texts[m], date) then return false end
        elseif strict then
          return false
        end
      end
    end
  end
  return true
end

-- The texts of `p`, one behind the other. Up to thirteen are joined at once: table.concat copies large ones twice.
local function joined(p)
  if #p > 13 then return table.concat(p) end
  return p[1] .. p[2] .. p[3] .. (p[4] or '') .. (p[5] or '') .. (p[6] or '') .. (p[7] or '') .. (p[8] or '')
    .. (p[9] or '') .. (p[10] or '') .. (p[11] or '') .. (p[12] or '') .. (p[13] or '')
end

-- The stored text with what stands from firsts[k] to lasts[k] replaced by texts[k]; they may come in any order.
local function replaced(state, firsts, lasts, texts, sorted)
  local parts, behind, numbers = { nil, nil, nil, nil, nil, nil, nil, nil, nil }, 1, nil
  if not sorted then
    numbers, sorted = {}, {}
    for k = 1, #firsts do
      numbers[firsts[k]], sorted[k] = k, firsts[k]
    end
    table.sort(sorted)
  end
  for j = 1, #firsts do
    local k = numbers and numbers[sorted[j]] or j
    parts[2 * j - 1], parts[2 * j] = state:sub(behind, firsts[k] - 1), texts[k]
    behind = lasts[k] + 1
  end
  parts[2 * #firsts + 1] = state:sub(behind)
  return joined(parts)
end

-- What the merge patch makes of the stored text `state`; the inverse of the patch, where `invert` asks for it and it is
-- clear; the text of the patch's own timestamp, and its microseconds. Or nil.
--   rules: those that are known already; validation: its level; now, us: a timestamp that is known, and its microseconds
local function usual_merge(rules, state, patch, validation, invert, now, us)
  if patch:byte() ~= 123 then return nil end
  local names, texts = { nil, nil, nil, nil, nil, nil, nil, nil }, { nil, nil, nil, nil, nil, nil, nil, nil }
  local parents, places = { nil, nil, nil, nil, nil, nil, nil, nil }, { nil, nil, nil, nil, nil, nil, nil, nil }
  local level = { nil, nil, nil, nil }
  local levels = { level, nil, nil, nil }
  local firsts, lasts, values = { nil, nil, nil, nil }, { nil, nil, nil, nil }, { nil, nil, nil, nil }
  local m, n, sorted, timestamp, stamp = 0, 0, true, nil, nil
  local depth, parent, openings, starts = 1, 0, {}, {}
  local opening, beside, from, i, c = 2, 2, 2, 2, nil
  local undo, undone = invert and {}, 1
  local misses = #state < 65536 and 8 or 2
  repeat
    local _, last, name = patch:find('^"([%w_ .-]+)":', i)
    if not last or last - i > MOST_NAME or m > MOST_MEMBERS then return nil end
    local tail = patch:sub(i + 1, last)
    local at = usual_place(state, tail, from, beside)
    if not at then
      -- In another order than the state's. Each may take a look at the whole of it, so it is not done often.
      at = misses > 0 and usual_place(state, tail, opening, opening)
      if not at or at > from then return nil end
      misses, sorted = misses - 1, false
    end
    local first = at + #name + 3
    m, i = m + 1, last + 1
    names[m], places[m], parents[m], level[#level + 1] = name, at, parent, m
    c = patch:byte(i)
    if c == 123 then
      if state:byte(first) ~= 123 or state:byte(first + 1) == 125 or depth > MOST_DEPTH then return nil end
      texts[m], openings[depth], starts[depth] = false, opening, at
      opening, i = first + 1, i + 1
      depth, parent, beside, from, c = depth + 1, m, opening, opening, nil
      level = levels[depth]
      if not level then
        level = { nil, nil, nil, nil }
        levels[depth] = level
      end
    else
      local text, start = nil, i
      if name == 'timestamp' and depth == 1 then
        text = patch:match('^"[^"]*"', i)
        stamp = text == now and us or (text and from_iso(text:sub(2, -2)))
        if not stamp then return nil end
        timestamp, i = text, i + #text
      else
        text, i = usual_scalar(patch, i, c)
      end
      if not text then return nil end
      local what
      last, what = usual_end(state, first)
      if not last then return nil end
      n = n + 1
      texts[m], firsts[n], lasts[n], values[n] = text, first, last, text
      if undo then
        local old = state:sub(first, last)
        undo[2 * n - 1], undo[2 * n], undone = patch:sub(undone, start - 1), old, i
        if old:find('null', 1, true) then undo = nil end -- in a patch it would remove something
      end
      beside, from = what == ',' and last + 2 or at, last + 1
      c = patch:byte(i)
      while c == 125 and depth > 1 do
        depth, i = depth - 1, i + 1
        opening, beside, parent, c = openings[depth], starts[depth], parents[parent], patch:byte(i)
        level = levels[depth]
      end
      if c ~= 44 and (c ~= 125 or i ~= #patch) then return nil end
      i = i + 1
    end
  until c == 125
  if not sorted then -- then one may have been named twice
    local seen = {}
    for k = 1, m do
      if seen[places[k]] then return nil end
      seen[places[k]] = true
    end
  end
  if validation ~= 'none' and not surely_valid(rules, levels, names, texts, parents, validation == 'strict', timestamp) then
    return nil
  end
  local inverse = undo and table.concat(undo) .. patch:sub(undone)
  return replaced(state, firsts, lasts, values, sorted), inverse, timestamp, stamp
end
