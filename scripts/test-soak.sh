#!/bin/sh
# The soak: an hour of everything that happens on a node in a day, compressed: pods (20,000 in an hour on a free
# machine), log rotation, pulls, failing registries, commands, and a daemon that is restarted or killed every five minutes.
# It samples memory, descriptors, processes, mounts, namespaces, cgroups, links, rules and disk, prints how much a thousand
# pods add, and fails if something is left, something grows, or a call fails with an error that a kubelet does not retry.
# Runs as root. Not part of npm test.
#
#   npm run test:soak                    an hour
#   npm run test:soak -- --minutes 10
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:soak needs root: it makes mounts, namespaces and cgroups" >&2
  exit 1
fi

sh scripts/setup.sh --test
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node test/soak/run.ts "$@"
