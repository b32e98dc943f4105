-- head: the newest commit and the entries behind it, for scripts that only read.

-- The head's version (0 where there is none), the epoch, the head's record and bytes, and whether compact entries may
-- stand behind it: they do not where nobody ever said which history the twin keeps.
local function read_head()
  local m = redis.call('HMGET', META, 'version', 'epoch', 'head', 'bytes', 'history')
  local version = tonumber(m[1] or 0)
  if not m[1] and redis.call('EXISTS', STATE) == 1 then
    corrupt(META, 'is missing, while there is a state: something else wrote it')
  end
  local is_one = version and version % 1 == 0 and version >= 0 and version < 9007199254740992 -- 2^53
  if not is_one or (m[1] and not (m[2] and m[3])) then
    corrupt(META, 'holds what no commit wrote: something else wrote it')
  end
  return version, m[2], m[3], m[4], m[5]
end

-- The entry of the head commit.
local function head_entry(head, bytes)
  local state = redis.call('GET', STATE)
  check_state(state, bytes)
  return entry(head, state)
end

-- A history entry from the list, if it is that of `version`: entries stand in a row.
local function checked_entry(text, version)
  if not is_of_version(text, version) then
    corrupt(HISTORY, ('does not hold version %.0f where it should: something else wrote it'):format(version))
  end
  return text
end

-- Where the patch of a history entry ends. Names and ids hold no raw quote: the first ,"patch": is the entry's own.
local function patch_end(text)
  local _, before = text:find(',"patch":', 1, true)
  if not before then corrupt(HISTORY, 'holds what no commit wrote: something else wrote it') end
  local _, last = text:find('^%b{}', before + 1)
  return last or before + 4
end

-- The history entries `texts`, newest first from `version` on, with a state in each that is compact (compact.lua).
-- `newest` and `bytes` are the head's.
local function with_states(texts, version, newest, bytes)
  local function is_compact(text) return text:byte(patch_end(text) + 3) == 105 end -- ,"inverse": and not ,"state":

  -- Up to the nearest state, and down again by the inverses.
  local function rebuild()
    -- @include utf8
    -- @include json
    -- @include merge
    -- @include compact
    local function state_in(text) return text:match('^,"state":(%b{})}$', patch_end(text) + 1) end

    local function state_before(state, text, at)
      local inverse = text:match('^,"inverse":(%b{})}$', patch_end(text) + 1)
      local ok, older = pcall(undone, state, inverse or '')
      if ok then return older end
      corrupt(HISTORY, ('holds at version %.0f what does not lead back from the version after it'):format(at))
    end

    local newer, above, state = {}, version + 1, state_in(texts[1])
    while not state and above < newest do
      local text = checked_entry(redis.call('LINDEX', HISTORY, ('%.0f'):format(newest - 1 - above)), above)
      state = state_in(text)
      if not state then newer[#newer + 1] = text end
      above = above + 1
    end
    if not state then
      state = redis.call('GET', STATE)
      check_state(state, bytes)
    end
    for i = #newer, 1, -1 do state = state_before(state, newer[i], version + i) end

    for i, text in ipairs(texts) do
      local own = state_in(text)
      state = own or state_before(state, text, version + 1 - i)
      if not own then texts[i] = text:sub(1, patch_end(text)) .. ',"state":' .. state .. '}' end
    end
  end

  for _, text in ipairs(texts) do
    if is_compact(text) then
      rebuild()
      break
    end
  end
  return texts
end
