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

# Sentinel keeps what it learned in its file: there only the passwords are written anew.
sentinel_settings() {
  if [ -e "$data/sentinel.conf" ]; then
    grep -v -E '^sentinel (auth-pass|sentinel-pass) ' "$data/sentinel.conf"
  else
    cat << END
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
sentinel sentinel-user peer
sentinel down-after-milliseconds main 5000
sentinel failover-timeout main 60000
sentinel parallel-syncs main 1
END
  fi
  echo "sentinel auth-pass main $(password internal)"
  echo "sentinel sentinel-pass $(password internal)"
}

# start FILE ARGUMENT ...: with what this shell printed into it.
start() {
  mv "$data/$1.new" "$data/$1"
  cd "$data"
  file=$data/$1
  shift
  exec docker-entrypoint.sh valkey-server "$file" "$@"
}

if [ "$KIND" = sentinel ]; then
  sentinel_users > "$data/users.acl"
  sentinel_settings > "$data/sentinel.conf.new"
  start sentinel.conf --sentinel
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
start server.conf
