#!/bin/sh
# vm-test.sh FILE: runs a test file that belongs to the virtual machine, and tells its counts as
# test/run.ts does.
export DAVIT_TEST_REPORT=/run/davit-vm-report.json
node --test --test-reporter=./test/support/reporter.ts "$1"
code=$?
node -p '
  const { passed, failed, skipped } = JSON.parse(fs.readFileSync(process.argv[1], "utf8"));
  `\n${passed} passed, ${failed} failed, ${skipped} skipped`' "$DAVIT_TEST_REPORT"
exit $code
