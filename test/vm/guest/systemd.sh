#!/bin/sh
# davit as a service of systemd; what it logs goes to the machine's console. One test file after
# the other.
journalctl --follow --no-tail --unit=davit >/dev/ttyS0 2>&1 &
# The parser of AppArmor's profiles, which the host may not have: davit looks for it.
package=node_modules/.cache/davit-vm/apparmor
# What waits in the tests waits for a machine that is emulated.
export DAVIT_TEST_PATIENCE=4
code=0
for name in ${DAVIT_VM_FILES:-systemd systemd-driver systemd-metrics apparmor}; do
  if [ "$name" = apparmor ]; then
    for file in usr/sbin/apparmor_parser etc/apparmor usr/share/apparmor-features; do
      mkdir -p "/${file%/*}"
      cp -r "$package/$file" "/${file%/*}/"
    done
  fi
  sh test/vm/guest/vm-test.sh "test/vm/guest/$name.vm.ts" || code=1
done
exit $code
