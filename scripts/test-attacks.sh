#!/bin/sh
# The attacks on davit that were found to work once, each as a test that fails when it works again.
# As root. The quick part runs in npm test, too; this runs the slow part (*.slow.ts) as well.
#
#   npm run test:attacks             everything
#   npm run test:attacks -- f03      only the files with "f03" in their path (test/attacks/)
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm run test:attacks needs root: it makes mounts, namespaces and cgroups" >&2
  exit 1
fi

sh scripts/setup.sh --test
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node test/run.ts attacks "$@"
