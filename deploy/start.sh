#!/bin/sh
# Starts one server of docker-compose.yml, or one Sentinel. Passwords come from files, and go into files: none is in a
# command line, in the environment, or in the compose file.
#
#   KIND       single, replicated, cluster or sentinel
#   NAME       what the others call this one
#   MASTER     replicated: whom to follow the first time; empty for nobody. sentinel: whom to watch the first time
#   ADDRESS    cluster: its own IP address
#   MAXMEMORY  what it may use for data
#   PORT       where it listens
#   DATA, SECRETS, LISTEN  the folders, and the address to listen on, where they are not a container's
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-/data} secrets=${SECRETS:-/run/secrets} port=${PORT:-6379}
bind=${LISTEN:+bind $LISTEN}

password() { tr -d '\r\n' < "$secrets/$1_password"; }
hashed() { printf '#%s' "$(password "$1" | sha256sum | cut -d ' ' -f 1)"; }
rules() { tr '\n' ' ' < "$here/acl/$1"; }
user() { printf 'user %s reset on %s %s\n' "$1" "$(hashed "$2")" "$(rules "$3")"; }

sentinel_users() {
  printf 'user default reset on nopass %s\n' "$(rules sentinel-client)"
  printf 'user operator reset on %s ~* &* +@all\n' "$(hashed operator)"
  printf 'user peer reset on %s ~* &* +@all\n' "$(hashed internal)"
}

server_users() {
  printf 'user default reset off\n'
  printf 'user operator reset on %s ~* &* +@all\n' "$(hashed operator)"
  for role in reader writer admin; do user "$role" "$role" "$role"; done
  for role in replica sentinel health; do user "$role" internal "$role"; done
}

# Sentinel keeps what it learned in its file, so it is written once only.
if [ "$KIND" = sentinel ]; then
  sentinel_users > "$data/users.acl"
  [ -e "$data/sentinel.conf" ] || cat > "$data/sentinel.conf" <<END
port $port
$bind
dir $data
aclfile $data/users.acl
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NAME
sentinel announce-port $port
sentinel monitor main $MASTER 6379 2
sentinel auth-user main sentinel
sentinel auth-pass main $(password internal)
sentinel sentinel-user peer
sentinel sentinel-pass $(password internal)
sentinel down-after-milliseconds main 5000
sentinel failover-timeout main 60000
sentinel parallel-syncs main 1
END
  cd "$data"
  exec docker-entrypoint.sh valkey-server "$data/sentinel.conf" --sentinel
fi

# The settings are written anew with each start; whom to follow is what Sentinel saw to last.
follow() {
  if [ -e "$data/server.conf" ]; then
    sed -n -E 's/^(slaveof|replicaof) /replicaof /p' "$data/server.conf"
  elif [ -n "${MASTER:-}" ]; then
    echo "replicaof $MASTER 6379"
  fi
}

settings() {
  sed "s|^dir .*|dir $data|" "$here/server.conf"
  echo "port $port"
  echo "$bind"
  echo "aclfile $data/users.acl"
  echo "maxmemory ${MAXMEMORY:-1gb}"
  echo "masteruser replica"
  echo "masterauth $(password internal)"
  if [ "$KIND" = replicated ]; then
    echo "replica-announce-ip $NAME"
    echo "replica-announce-port $port"
    # A master that is cut off from both replicas stops to take writes, instead of taking some that will be lost.
    echo "min-replicas-to-write 1"
    echo "min-replicas-max-lag 5"
    follow
  elif [ "$KIND" = cluster ]; then
    echo "cluster-enabled yes"
    echo "cluster-config-file nodes.conf"
    echo "cluster-node-timeout 5000"
    echo "cluster-announce-ip $ADDRESS"
  fi
}

server_users > "$data/users.acl"
settings > "$data/server.conf.new"
mv "$data/server.conf.new" "$data/server.conf"
cd "$data"
exec docker-entrypoint.sh valkey-server "$data/server.conf"
