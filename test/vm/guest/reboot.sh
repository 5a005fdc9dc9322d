#!/bin/sh
# Two boots of one machine. The first runs pods and is reset, as by a loss of power: nothing is stopped
# and nothing is unmounted. The second looks at what davit makes of it.
if [ -e /disk/before-reset.json ]; then
  exec sh test/vm/guest/vm-test.sh test/vm/guest/after-reset.vm.ts
fi
sh test/vm/guest/vm-test.sh test/vm/guest/before-reset.vm.ts || exit 1
echo "davit-vm: reset"
# What the disk has now it would have after a loss of power: no sync.
echo b >/proc/sysrq-trigger
