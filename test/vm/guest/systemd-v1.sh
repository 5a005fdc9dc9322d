#!/bin/sh
# The same with cgroup v1, as systemd mounts it, for what reads the files of cgroups.
DAVIT_VM_FILES=systemd-metrics
. test/vm/guest/systemd.sh
