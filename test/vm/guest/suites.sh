#!/bin/sh
# Runs the test files that are in the file davit.tests of the kernel's command line. Their deadlines are for
# machines that are not emulated.
for word in $(cat /proc/cmdline); do
  case "$word" in
    davit.tests=*) tests=${word#*=} ;;
  esac
done
# shellcheck disable=SC2046 # a list of words
exec node test/run.ts kernel integration $(cat "$tests")
