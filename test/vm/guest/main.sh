#!/bin/sh
# The first process after init.sh, or a service where systemd is that: readies the kernel as a node's
# would be, runs the job that the kernel's command line names, tells its exit code, and turns the
# machine off. As the first process it stays the parent of all that is orphaned meanwhile, and reaps it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
output=/dev/hvc0
[ -c $output ] || output=/dev/tty1 # user-mode Linux
exec </dev/null >$output 2>&1

for word in $(cat /proc/cmdline); do
  case "$word" in
    davit.job=*) job=${word#*=} ;;
  esac
done

if [ $$ = 1 ]; then
  ln -sf /proc/self/fd /dev/fd
  ln -sf fd/0 /dev/stdin
  ln -sf fd/1 /dev/stdout
  ln -sf fd/2 /dev/stderr
  # As systemd does.
  if grep -q cgroup_no_v1 /proc/cmdline; then
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
  else
    mount -t tmpfs -o mode=0755 cgroup /sys/fs/cgroup
    for name in $(sed 1d /proc/cgroups | cut -f 1) name=systemd; do
      mkdir "/sys/fs/cgroup/${name#name=}"
      case $name in name=*) options=none,$name ;; *) options=$name ;; esac
      mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/${name#name=}"
    done
  fi
  ip link set lo up
  hostname davit-vm
fi
echo 1 >/proc/sys/net/ipv4/ip_forward
# User-mode Linux cannot map what io_uring shares ("Bad page map"); libuv and davit do without.
[ -c /dev/hvc0 ] || echo 2 >/proc/sys/kernel/io_uring_disabled

cd /opt/davit || exec busybox poweroff -f
PATH=$PWD/node_modules/.bin:$PATH
# What waits in the tests waits for a machine that is slow. Node.js keeps what it compiled, and the types that it
# removed, so that each source is read once in a machine.
export DAVIT_TEST_PATIENCE=4 NODE_COMPILE_CACHE=/var/tmp/davit-vm/compiled
echo "davit-vm: $(uname -r), $(nproc) processors, controllers: $(sed 1d /proc/cgroups | cut -f 1 | tr '\n' ' ')"
echo "davit-vm: up for $(cut -d ' ' -f 1 /proc/uptime) s"
sh "test/vm/guest/$job.sh"
echo "davit-vm: exit $?"
sync
# The last words have to reach the host before the power goes.
sleep 1
busybox poweroff -f
