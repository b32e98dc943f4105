-- stored: reads what commits stored before, strictly: no other text gets into a twin by way of a backup.

local function bad_copy(reason) refuse('BAD_JSON', '{"reason":' .. told(reason) .. '}') end

-- The tree of a JSON object that has to be in the stored form.
local function read_stored(text, what)
  local tree, stored = read_json(text)
  if stored ~= text then bad_copy(what .. ' is not in the form that commits store') end
  return tree
end

-- The facts that a record, or an entry that begins with one, says: version, timestamp (as JSON text), committed and stamp
-- (microseconds), patch (its text), and where what stands behind the patch begins.
local function facts_of(record, what)
  local facts, patch_at = record:match('^({"version":[1-9]%d*,"timestamp":.-,"id":"?[^"]*"?),"patch":()')
  if not facts then bad_copy(what .. ' does not begin as the record of a commit does') end
  facts = facts .. '}'
  local tree = read_stored(facts, what)
  if table.concat(tree.keys, ' ') ~= 'version timestamp committed_at op actor id' then
    bad_copy(what .. ' does not have the facts of a commit')
  end
  local values = tree.values
  for _, value in pairs(values) do
    if type(value) ~= 'string' or value:byte() == 91 then bad_copy(what .. ' does not have the facts of a commit') end
  end
  local version, committed_at, op = values.version, values.committed_at:match('^"(.*)"$'), values.op
  local committed = committed_at and from_iso(committed_at)
  if #version > 15 or not committed or to_iso(committed) ~= committed_at or not op:find('^"%l+"$') then
    bad_copy(what .. ' does not say which commit it is, or when it was made')
  end
  for _, name in ipairs({ 'actor', 'id' }) do
    if not values[name]:find('^"') and values[name] ~= 'null' then bad_copy(what .. ' has no text as its ' .. name) end
  end
  local patch = record:match('^null', patch_at) or record:match('^%b{}', patch_at)
  if not patch then bad_copy(what .. ' has no patch') end
  if patch ~= 'null' then read_stored(patch, 'the patch of ' .. what) end
  local own = values.timestamp:match('^"(.*)"$')
  return {
    version = tonumber(version), timestamp = values.timestamp, committed = committed, patch = patch,
    stamp = own and from_iso(own) or committed, behind = patch_at + #patch,
  }
end

-- Refuses a state that is not in the stored form, or whose own timestamp is not what its commit says.
local function check_state_of(facts, state, what)
  local own = read_stored(state, 'the state of ' .. what).values.timestamp
  if type(own) ~= 'string' or own:byte() == 91 then own = 'null' end
  if own ~= facts.timestamp then bad_copy('the state of ' .. what .. ' has another timestamp than its commit says') end
end
