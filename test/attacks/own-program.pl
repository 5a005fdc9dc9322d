# A hostile program in the place of one of davit's own: KIND SOCKET PID. It prints a line "NAME: RESULT" for each attempt,
# where RESULT is "done" or the number of the error. Raw system calls of x86_64.
use strict;
my ($kind, $socket, $pid) = @ARGV;
$| = 1;

# Copies, since syscall takes no constant strings.
sub call {
    my ($number, @arguments) = @_;
    $! = 0;
    return syscall($number, @arguments);
}

sub try_call {
    my ($name, @call) = @_;
    my $result = call(@call);
    print "$name: ", ($result >= 0 ? "done" : $! + 0), "\n";
    return $result;
}

sub try_open {
    my ($name, $path, $mode) = @_;
    print "$name: ", (open(my $file, $mode // "<", $path) ? "done" : $! + 0), "\n";
}

# The root: descriptor 3, or by the socket that is descriptor 3 (struct msghdr with one control message).
my $root = 3;
if ($kind eq "unpacker") {
    my ($byte, $control) = ("\0", "\0" x 24);
    my $piece = pack("PQ", $byte, 1);
    my $message = pack("QQPQPQQ", 0, 0, $piece, 1, $control, 24, 0);
    call(47, 3, $message, 0) == 1 or die "recvmsg: $!";
    $root = unpack("x16 i", $control);
}
call(81, $root) == 0 or die "fchdir: $!";
call(161, ".") == 0 or die "chroot: $!";

try_call("socket", 41, 1, 1, 0);
try_call("socketpair", 53, 1, 1, 0, pack("ll", 0, 0));
my $address = pack("S a*", 1, "$socket\0");
try_call("connect descriptor 3", 42, 3, $address, length $address);
try_call("ptrace", 101, 0x4206, $pid, 0, 0);
try_call("process_vm_readv", 310, $pid, 0, 0, 0, 0, 0);
try_call("pidfd_open", 434, $pid, 0);
try_call("kill", 62, $pid, 0);
try_call("tgkill", 234, $pid, $pid, 0);
try_call("be sent a signal", 72, 0, 8, $pid);
try_call("choose the signal", 72, 0, 10, 9);
try_call("prlimit of another", 302, $pid, 7, 0, 0);
try_call("mount", 165, 0, 0, 0, 0, 0);
try_call("open_tree", 428, -100, ".", 1);
try_call("move_mount", 429, -1, "", -100, "", 0);
try_call("pivot_root", 155, ".", ".");
try_call("unshare users", 272, 0x10000000);
try_call("unshare mounts", 272, 0x20000);
try_call("setns", 308, 3, 0);
try_call("fork", 57);
try_call("vfork", 58);
try_call("clone", 56, 17, 0, 0, 0, 0);
try_call("a thread in another mount namespace", 56, 0x30900, 0, 0, 0, 0);
try_call("bpf", 321, 0, 0, 0);
try_call("keyctl", 250, 0, -3, 0, 0, 0);
try_call("io_uring_setup", 425, 1, 0);
try_call("perf_event_open", 298, 0, 0, -1, -1, 0);
try_call("userfaultfd", 323, 0);
try_call("open_by_handle_at", 304, 3, 0, 0);
try_call("init_module", 175, 0, 0, 0);
try_call("ioctl that freezes", 16, 0, 0xC0045877, 0);
try_call("personality", 135, 0x0400000);

# Out of the root: by a deeper chroot and an open directory (chroot(2)), and by the daemon's process.
try_call("mkdir", 83, "deeper", 0700);
opendir(my $here, ".");
my $fd = call(2, ".", 0200000, 0);
call(161, "deeper");
call(81, $fd);
chdir("..") for 1 .. 64;
try_open("a file of the node by an open directory", "etc/passwd");
try_open("a file of the node by descriptor 3", "/proc/self/fd/3/../../etc/passwd");
try_open("the daemon's root", "/proc/$pid/root/etc/passwd");
call(161, ".");
call(133, "disk", 0060600, 0x0800);
try_open("a disk", "disk");
try_call("make a device", 133, "zero", 0020600, 0x0105);
try_open("a device", "zero");
try_call("make a file", 2, "file", 0102, 0700);
try_call("execve", 59, "file", 0, 0);
