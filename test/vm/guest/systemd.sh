#!/bin/sh
# davit as a service of systemd.
sh test/vm/guest/vm-test.sh test/vm/guest/systemd.vm.ts
code=$?
if [ $code != 0 ]; then
  systemctl --no-pager --failed
  journalctl --no-pager -u davit | tail -n 60
fi
exit $code
