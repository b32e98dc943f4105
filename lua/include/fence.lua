-- fence: who has a role, and whether a commit comes from the one who was given it last.

-- The lease of a role, nil where it was never given.
local function read_lease(role)
  local text = redis.call('HGET', LEASES, role)
  if not text then return nil end
  local token, holder, till = text:match('^{"token":(%d+),"holder":"([^"]*)","until":"([^"]*)"}$')
  local expires = till and from_iso(till)
  if not expires or #token > 16 then corrupt(LEASES, 'holds what no worker wrote: something else wrote it') end
  return { token = token, holder = holder, expires = expires }
end

-- Refuses what a worker sends that had a role once, and was given no notice that another has it now.
local function check_fence(fence)
  local role, token = fence:match('^(.+):(%d+)$')
  if not role then refuse('BAD_JSON', '{"reason":' .. told('no role:token: ' .. fence) .. '}') end
  local held = read_lease(role)
  if not held or held.token ~= token then
    refuse('FENCED', ('{"role":%s,"token":%s,"current":%s,"holder":"%s"}'):format(quote(role), token,
      held and held.token or '0', held and held.holder or ''))
  end
end
