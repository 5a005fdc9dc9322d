/** The first root of the virtual machine: busybox, kernel modules and `guest/init.sh`, as a cpio archive. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Kernel, loadOrder } from "./kernel.ts";

/** The modules of qemu's devices. */
const ofQemu = ["virtio_pci", "virtio_console", "9p", "9pnet_virtio", "virtio_blk", "virtio_rng"];
/** What pods and their networks need. */
const ofPods = [
  ...["crc32c_generic", "ext4", "overlay", "erofs", "loop", "quota_v2", "xfs", "fuse"],
  ...["veth", "bridge", "br_netfilter", "nf_tables", "nft_compat", "xt_nat", "xt_MASQUERADE"],
  ...["xt_comment", "xt_mark", "xt_multiport", "xt_addrtype", "xt_conntrack", "xt_tcpudp"],
  ...["xt_limit", "nft_masq", "nft_ct", "nfnetlink_queue", "tun"],
];
/** What CRIU asks about sockets. */
const ofCriu = [
  ...["unix_diag", "inet_diag", "tcp_diag", "udp_diag", "raw_diag"],
  ...["netlink_diag", "af_packet_diag"],
];
/** Network address translation by nftables. */
const ofNftables = ["nft_chain_nat", "nft_fib_inet"];
/** The same by iptables, as Debian builds user-mode Linux without that of nftables. */
const ofIptables = ["iptable_nat", "ip6table_nat", "iptable_filter", "ip6table_filter"];

/** Writes the archive to `file`; the guest's scripts are those of this working copy. */
export function writeInitramfs(file: string, kernel: Kernel): void {
  const own = kernel.isUserMode ? ofIptables : [...ofQemu, ...ofNftables, ...ofCriu];
  // crc32c_generic comes first: others need it when they are loaded, and do not name it.
  const modules = loadOrder(kernel, [...ofPods, ...own]);
  const archive = new Cpio();
  for (const name of ["bin", "dev", "lower", "modules", "proc", "root", "sys", "upper"]) {
    archive.add(name, 0o040755);
  }
  archive.add("bin/busybox", 0o100755, readFileSync("/bin/busybox"));
  const init = readFileSync(path.join(import.meta.dirname, "guest/init.sh"));
  archive.add("init", 0o100755, init);
  for (const { name, content } of modules) archive.add(`modules/${name}.ko`, 0o100644, content);
  const order = modules.map(({ name }) => `${name}\n`).join("");
  archive.add("modules/order", 0o100644, Buffer.from(order));
  writeFileSync(file, archive.end());
}

/** Writes an archive whose init prints `word` and turns the machine off. */
export function writeProbe(file: string, word: string): void {
  const archive = new Cpio();
  for (const name of ["bin", "dev", "proc"]) archive.add(name, 0o040755);
  archive.add("bin/busybox", 0o100755, readFileSync("/bin/busybox"));
  const lines = [
    ...["#!/bin/busybox sh", "/bin/busybox mount -t devtmpfs devtmpfs /dev"],
    ...[`echo ${word} >/dev/tty1`, "/bin/busybox poweroff -f", ""],
  ];
  archive.add("init", 0o100755, Buffer.from(lines.join("\n")));
  writeFileSync(file, archive.end());
}

/** The format that the kernel unpacks: "newc", linux/Documentation/driver-api/early-userspace/buffer-format. */
class Cpio {
  readonly #parts: Buffer[] = [];
  #inode = 0;

  add(name: string, mode: number, content: Buffer = Buffer.alloc(0)): void {
    this.#inode += 1;
    const nameSize = Buffer.byteLength(name) + 1;
    // inode, mode, uid, gid, links, mtime, size, device, device of a node (twice two), length, checksum.
    const fields = [this.#inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, nameSize, 0];
    const header = fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    this.#parts.push(padded(Buffer.from(`070701${header}${name}\0`)), padded(content));
  }

  end(): Buffer {
    this.add("TRAILER!!!", 0);
    return Buffer.concat(this.#parts);
  }
}

/** To a multiple of four bytes. */
function padded(part: Buffer): Buffer {
  return Buffer.concat([part, Buffer.alloc(-part.length & 3)]);
}
