#!/bin/busybox sh
# The first process of the virtual machine, in its initramfs: loads the modules, makes the host's root
# (read-only, by 9p) writable with a tmpfs over it, mounts what a machine has, and runs there
# the job that the kernel's command line names: davit.repo, davit.job, davit.init. With davit.root=disk the root is the
# system on the disk, with the host's root at /host.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
  echo "davit-vm: $*" >/dev/console
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module.ko" || echo "davit-vm: no module $module" >/dev/console
done </modules/order

for word in $(cat /proc/cmdline); do
  case "$word" in
    davit.repo=*) repo=${word#*=} ;;
    davit.init=*) init=${word#*=} ;;
    davit.root=*) system=${word#*=} ;;
    davit.policy=*) policy=${word#*=} ;; # SELinux's
    davit.time=*) date -s "@${word#*=}" >/dev/null ;; # the kernel's driver for the clock is a module
  esac
done

# In user-mode Linux the host's files are there without a device.
if grep -q hostfs /proc/filesystems; then
  mount -t hostfs -o ro host /lower
else
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /lower
fi ||
  fail "the host's root cannot be mounted"
labels=
if [ -n "${policy:-}" ]; then
  mount -t selinuxfs selinuxfs /sys/fs/selinux || fail "the kernel has SELinux off"
  # The kernel takes it in one write alone.
  cp "/lower$policy" /policy
  dd if=/policy of=/sys/fs/selinux/load bs=64M 2>/dev/null || fail "the policy cannot be loaded"
  labels=,context=system_u:object_r:bin_t:s0
fi

host_root() {
  mount -t tmpfs -o mode=0755 upper /upper
  mkdir /upper/files /upper/work
  mount -t overlay -o "lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work$labels" root /root ||
    fail "no overlay over the host's root"

  # What changes lies on a tmpfs of its own: an overlay cannot lie on this overlay.
  for directory in tmp run var/tmp/davit-vm var/lib/davit var/lib/davit-attached var/lib/cni; do
    mkdir -p "/root/$directory"
    mount -t tmpfs -o mode=0755 "davit-vm" "/root/$directory"
  done
  chmod 1777 /root/tmp
  for disk in /dev/vda /dev/ubda; do
    [ -b $disk ] || continue
    mkdir -p /root/disk
    mount -t ext4 $disk /root/disk || fail "the disk cannot be mounted"
  done
}

disk_root() {
  for disk in /dev/vda /dev/ubda; do
    [ ! -b $disk ] || mount -t ext4 $disk /root || fail "the disk cannot be mounted"
  done
  mount -t tmpfs -o mode=0755 davit-vm /root/run
  units=/root/run/systemd/system
  mkdir -p $units/multi-user.target.requires
  cp "/lower$repo/test/vm/guest/davit-vm.service" $units
  ln -s ../davit-vm.service $units/multi-user.target.requires/
  mount --bind "/lower$repo" /root/opt/davit
  mount --move /lower /root/host
}

case "${system:-}" in
  disk) disk_root ;;
  *) host_root ;;
esac

if grep -q hostfs /proc/filesystems; then
  # Its nftables cannot translate addresses.
  for name in iptables ip6tables; do
    for part in "" -save -restore; do
      ln -sf "/usr/sbin/$name-legacy$part" "/root/etc/alternatives/$name$part"
    done
  done
fi

if [ -z "${system:-}" ]; then
  # Where the shipped unit looks for it.
  mkdir -p /root/opt/davit
  mount --bind "/root$repo" /root/opt/davit
fi
if [ -n "${init:-}" ] && [ -z "${system:-}" ]; then
  # systemd starts what the test needs, and nothing of what the host has enabled.
  mount -t tmpfs -o mode=0755 davit-vm /root/etc/systemd/system
  cp "/root$repo/packaging/davit.service" "/root$repo"/test/vm/guest/davit-vm.* \
    /root/etc/systemd/system
  tr -d - </proc/sys/kernel/random/uuid >/root/etc/machine-id
fi

mount --move /proc /root/proc
mount --move /sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
exec switch_root /root "${init:-/opt/davit/test/vm/guest/main.sh}"
