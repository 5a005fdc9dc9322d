#!/bin/sh
# All crash points: at each of them the daemon is killed, the call fails, and the call hangs, for every kind of pod.
# Each kill is repeated at every stage of the recovery. Then the churn, 1,000 pods whose callers disconnect, repeat
# calls and interfere, and repeated commands: 10,000 ExecSync, and 1,000 with 10 MB of output each. Runs as root and
# takes about 45 minutes. npm test has a sample of it.
#
#   npm run test:faults              everything
#   npm run test:faults -- kill-run  only the files with "kill-run" in their path (test/faults/)
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:faults needs root: it makes mounts, namespaces and cgroups" >&2
  exit 1
fi

sh scripts/setup.sh --test
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node test/faults/run.ts "$@"
