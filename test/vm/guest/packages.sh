#!/bin/sh
# Two boots of a Debian system: the first installs the package of davit and shuts down while pods run, the second finds
# davit running again and purges it.
journalctl --follow --no-tail --unit=davit >/dev/console 2>&1 &
if [ -e /var/tmp/davit-vm/expectation.json ]; then
  exec sh test/vm/guest/vm-test.sh test/vm/guest/package-purge.vm.ts
fi
sh test/vm/guest/vm-test.sh test/vm/guest/package-install.vm.ts || exit 1
echo "davit-vm: exit 0"
# As an operator does it: systemd stops what runs.
systemctl poweroff --no-block
exec sleep infinity
