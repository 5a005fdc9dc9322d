#!/bin/sh
# davit where SELinux enforces Debian's policy. Its files lie on an ext4, which keeps labels; what it is
# started from has the label that init.sh gives the whole root. What is denied is on the machine's console.
cp -r node_modules/.cache/davit-vm/selinux/etc/selinux /etc/
chcon system_u:object_r:var_lib_t:s0 /disk
# As restorecon labels them when a node boots.
for name in null zero random urandom; do
  chcon "system_u:object_r:${name}_device_t:s0" "/dev/$name"
done
chcon system_u:object_r:devtty_t:s0 /dev/tty
export TMPDIR=/disk
# Into davit's domain while the policy does not keep this script from it.
runcon system_u:system_r:davit_t:s0 sh -c '
  echo 1 >/sys/fs/selinux/enforce || exit 1
  code=0
  for name in selinux selinux-attacks; do
    sh test/vm/guest/vm-test.sh "test/vm/guest/$name.vm.ts" || code=1
  done
  exit $code'
code=$?
dmesg | grep 'avc: ' >/dev/console
exit $code
