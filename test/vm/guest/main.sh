#!/bin/sh
# The first process after init.sh, or a service where systemd is that: readies the kernel as a node's
# would be, runs the job that the kernel's command line names, tells its exit code, and turns the
# machine off. As the first process it stays the parent of all that is orphaned meanwhile, and reaps it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
exec </dev/null >/dev/hvc0 2>&1

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
  mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
  ip link set lo up
  hostname davit-vm
fi
echo 1 >/proc/sys/net/ipv4/ip_forward

cd /opt/davit || exec busybox poweroff -f
PATH=$PWD/node_modules/.bin:$PATH
echo "davit-vm: $(uname -r), $(nproc) processors, controllers: $(sed 1d /proc/cgroups | cut -f 1 | tr '\n' ' ')"
echo "davit-vm: up for $(cut -d ' ' -f 1 /proc/uptime) s"
sh "test/vm/guest/$job.sh"
echo "davit-vm: exit $?"
sync
# The last words have to reach the host before the power goes.
sleep 1
busybox poweroff -f
