#!/bin/sh
# davit as a service of systemd; what it logs goes to the machine's console. The test files that davit.files
# of the kernel's command line names, one after the other, then integration tests.
journalctl --follow --no-tail --unit=davit >/dev/console 2>&1 &
tests=
for word in $(cat /proc/cmdline); do
  case "$word" in
    davit.files=*) files=$(echo "${word#*=}" | tr , ' ') ;;
    davit.tests=*) tests=$(cat "${word#*=}") ;;
  esac
done
# The parser of AppArmor's profiles, which the host may not have: davit looks for it.
package=node_modules/.cache/davit-vm/apparmor
code=0
for name in $files; do
  if [ "$name" = apparmor ]; then
    for file in usr/sbin/apparmor_parser etc/apparmor usr/share/apparmor-features; do
      mkdir -p "/${file%/*}"
      cp -r "$package/$file" "/${file%/*}/"
    done
  fi
  sh test/vm/guest/vm-test.sh "test/vm/guest/$name.vm.ts" || code=1
done
if [ -n "$tests" ]; then
  # These have daemons of their own, with systemd's cgroups.
  systemctl stop davit.service
  # shellcheck disable=SC2086 # a list of words
  DAVIT_TEST_CGROUP_DRIVER=systemd node test/run.ts integration $tests || code=1
fi
exit $code
