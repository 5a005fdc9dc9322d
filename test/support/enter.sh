#!/bin/sh
# The first process of a test file's namespaces: readies them, runs the file, and reaps what is
# orphaned meanwhile, as init would. Stays the parent for that: no exec.
#   enter.sh NODE ARG...
set -eu
ip link set lo up
exec 8</run
mount -t tmpfs -o mode=0755 davit-test-run /run
if [ "${DAVIT_TEST_CGROUP_DRIVER:-}" = systemd ]; then
  for directory in dbus systemd; do
    mkdir "/run/$directory"
    mount -c --bind "/proc/self/fd/8/$directory" "/run/$directory" # -c: as it is, for the old /run
  done
fi
exec 8<&-
# CNI plugins make this directory when they first keep an address or a result.
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=0755 davit-test-cni /var/lib/cni
set +e
"$@"
exit $?
