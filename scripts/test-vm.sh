#!/bin/sh
# davit in virtual machines (test/vm): the suites on cgroup v2, a reset under running pods, systemd,
# SELinux. Runs as root. Needs qemu and Debian's kernels, and says so if they are missing. Not part of npm test.
#
#   npm run test:vm                                  every machine, with what cgroup v2 can change
#   npm run test:vm -- --all --record                with all tests; writes docs/vm-results.md
#   npm run test:vm -- reboot                        only this one
#   npm run test:vm -- suites --tests container-stats,cli-why
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:vm needs root: the machine's root is the host's, and so are its files' modes" >&2
  exit 1
fi
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node test/vm/run.ts "$@"
