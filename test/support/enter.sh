#!/bin/sh
# The first process of a test file's namespaces: readies them, runs the file, and reaps what is
# orphaned meanwhile, as init would. Stays the parent for that: no exec.
#   enter.sh NODE ARG...
set -eu
ip link set lo up
mount -t tmpfs -o mode=0755 davit-test-run /run
# CNI plugins make this directory when they first keep an address or a result.
mkdir -p /var/lib/cni
mount -t tmpfs -o mode=0755 davit-test-cni /var/lib/cni
set +e
"$@"
exit $?
