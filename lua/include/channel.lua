-- channel: how a twin's events go out.

local clustered -- asked for once

-- Whether this server is a node of a cluster. Who may not ask is taken not to be in one.
local function in_cluster()
  if clustered == nil then
    local info = redis.pcall('INFO', 'cluster')
    clustered = type(info) == 'string' and info:find('cluster_enabled:1', 1, true) ~= nil
  end
  return clustered
end

-- In a cluster SPUBLISH reaches the shard of the twin; PUBLISH would wake every node.
local function publish_command(sharded) return sharded and 'SPUBLISH' or 'PUBLISH' end
