#!/bin/sh
# davit as a service of systemd; what it logs goes to the machine's console.
journalctl --follow --no-tail --unit=davit >/dev/ttyS0 2>&1 &
exec sh test/vm/guest/vm-test.sh test/vm/guest/systemd.vm.ts
