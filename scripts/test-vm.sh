#!/bin/sh
# davit in virtual machines (test/vm): the suites on cgroup v2, a reset under running pods, systemd,
# SELinux. Runs as root. qemu emulates the processor, which is slow. Needs qemu and Debian's kernel, and says so if
# they are missing. Not part of npm test.
#
#   npm run test:vm                                  every machine
#   npm run test:vm -- reboot                        only this one
#   npm run test:vm -- suites --tests integration,container-stats
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
