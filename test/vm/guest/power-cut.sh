#!/bin/sh
# Boots of one machine that loses power in each of them but the last. Each one looks at what the one before has left.
for word in $(cat /proc/cmdline); do
  case "$word" in
    davit.boot=*) boot=${word#*=} ;;
  esac
done
code=0
if [ "$boot" -gt 1 ]; then
  sh test/vm/guest/vm-test.sh test/vm/guest/after-power-cut.vm.ts || code=$?
fi
# It exits only if there is no further moment.
node test/vm/guest/power-cut.ts || exit 1
exit $code
