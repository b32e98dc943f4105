-- notice: the event of something that is not a commit (clear, delete), with the version it happened at.
local function notice(twin, op)
  redis.call('PUBLISH', EVENTS, ('{"twin":%s,"epoch":"%s","version":%.0f,"op":"%s","actor":%s,"committed_at":"%s"}')
    :format(quote(twin_id()), twin.epoch, twin.version, op, ACTOR == '' and 'null' or quote(ACTOR),
    to_iso(server_time(twin.committed))))
end
