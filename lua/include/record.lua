-- record: a commit's record, and whether what stands there is what a commit wrote.

-- A history entry: the head record of a commit, with the state that it made.
local function entry(head, state)
  return head:sub(1, -2) .. ',"state":' .. state .. '}'
end

-- A history entry of the compact kind: with the merge patch that leads from the state after it back to its own.
local function with_inverse(head, inverse)
  return head:sub(1, -2) .. ',"inverse":' .. inverse .. '}'
end

-- Refuses a state that is not what the last commit wrote, as far as a glance can tell.
local function check_state(state, bytes)
  if not state then corrupt(STATE, 'is missing, while meta says that there is a state') end
  local looks_ours = (state:find('^{"') or state == '{}') and state:byte(-1) == 125 and not state:find('\\"', 1, true)
  if #state ~= tonumber(bytes) or not looks_ours then
    corrupt(STATE, 'is not what the last commit wrote: something else wrote it')
  end
end

-- Whether a record, or an entry that begins with one, is that of `version`.
local function is_of_version(record, version)
  return record:find(('{"version":%d,'):format(version), 1, true) == 1
end
