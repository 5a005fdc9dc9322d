#!/bin/sh
# Long tests that run as root and are not part of npm test. It prepares the machine, builds, and runs them.
#
# The soak (test/soak) is an hour of everything that happens on a node in a day, compressed: pods (20,000 in an hour on
# a free machine), log rotation, pulls, failing registries, commands, and a daemon that is restarted or killed every five
# minutes. It samples memory, descriptors, processes, mounts, namespaces, cgroups, links, rules and disk, prints how much
# a thousand pods add, and fails if something is left, something grows, or a call fails with an error that a kubelet does
# not retry.
#
#   npm run test:soak                    an hour
#   npm run test:soak -- --minutes 10
#   npm run test:soak -- --pods 20000    as long as that takes
#
# The faults (test/faults) are all crash points: at each of them the daemon is killed, the call fails, and the call
# hangs, for every kind of pod. Each kill is repeated at every stage of the recovery. Then the churn, 1,000 pods whose
# callers disconnect, repeat calls and interfere, and repeated commands: 10,000 ExecSync, and 1,000 with 10 MB of output
# each. That takes about 45 minutes. npm test has a sample of it.
#
#   npm run test:faults                  everything
#   npm run test:faults -- kill-run      only the files with "kill-run" in their path
set -eu
cd "$(dirname "$0")/.."

name=$1
shift
if [ "$(id -u)" != 0 ]; then
  echo "npm run test:$name needs root: it makes mounts, namespaces and cgroups" >&2
  exit 1
fi

sh scripts/setup.sh --test
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node "test/$name/run.ts" "$@"
