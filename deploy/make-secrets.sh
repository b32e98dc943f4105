#!/bin/sh
# Makes the passwords that docker-compose.yml needs, where there are none yet: secrets/*_password.
set -eu
folder=${1:-$(dirname "$0")/../secrets}
# Letters and digits only: they go into the servers' configuration. Nobody else on this machine gets into the folder. The files are readable, since the containers that they are mounted
# into run under user ids of their own, and Compose cannot change a mounted file's owner.
mkdir -p -m 700 "$folder"
umask 022
for name in operator admin writer reader internal; do
  [ -s "$folder/${name}_password" ] || head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$folder/${name}_password"
done
