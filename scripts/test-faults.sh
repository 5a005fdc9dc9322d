#!/bin/sh
# The full walk over the crash points: at each of them the daemon is killed, the call fails, and the
# call hangs, for every kind of pod, and each kill is repeated at every stage of the recovery. As
# root; takes about three quarters of an hour. And the churn: 1,000 pods whose callers go away, ask twice
# and interfere; and rows of commands: 10,000 ExecSync, and 1,000 with 10 MB of output each. A sample of all
# is part of npm test.
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
