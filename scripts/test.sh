#!/bin/sh
# All tests: prepares the machine, builds, and runs the gate, then unit, kernel and integration tests. Needs root for
# mounts and namespaces.
#
#   npm test                         everything
#   npm test -- sandbox cni          only the test files with "sandbox" or "cni" in their path
#   npm test -- kernel --parallel 2  see: node test/run.ts --help
#   npm run test:attacks -- f03      test/attacks alone, its slow part (*.slow.ts) too; here those with "f03"
set -eu
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ]; then
  echo "npm test needs root: it makes mounts, namespaces and cgroups. Run: sudo npm test" >&2
  echo "Without root there is the gate with the unit tests: npm run ok" >&2
  exit 1
fi

sh scripts/setup.sh --test
PATH=$PWD/node_modules/.bin:$PATH
export PATH
sh scripts/build.sh
exec node test/run.ts "$@"
