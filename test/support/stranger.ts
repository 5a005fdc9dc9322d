/**
 * Containers that do not belong to a test file, for the tests of the leak check: other runtimes, and other runs
 * of these tests, create and remove such objects on the host while a test file runs.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { newMark } from "./belongs.ts";
import type { LeakKind } from "./snapshot/shape.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-c", script], { stdio: "pipe" }).toString();

/** One container with all of its objects on the host; disposal removes those that are left. */
export class Stranger implements Disposable {
  static #count = 0;
  readonly #number = ++Stranger.#count;
  readonly #link = `stranger${this.#number}`;
  readonly #disk: string;
  readonly #root: string;
  readonly #namespace: string;
  readonly #mark = newMark();
  readonly #temporary = `/tmp/${this.#mark}`;
  readonly #cgroup = path.join(anyHierarchy(), this.#mark);
  readonly #address = `/var/lib/cni/networks/${this.#link}/10.93.${this.#number}.2`;
  #queue = "";

  /** The kinds of things that `start` makes. */
  static readonly kinds: readonly LeakKind[] = [
    "mount",
    "namespace",
    "cgroup",
    "link",
    "address",
    "route",
    "iptables",
    "cni",
    "file",
    "ipc",
  ];

  /** Its mounts are in a directory of their own in `disks`. */
  constructor(disks = tmpdir()) {
    this.#disk = mkdtempSync(path.join(disks, "stranger-"));
    this.#root = path.join(this.#disk, "rootfs");
    this.#namespace = path.join(this.#disk, "netns");
  }

  start(): void {
    mkdirSync(this.#root);
    sh(`mount -t tmpfs stranger ${this.#root}`);
    writeFileSync(this.#namespace, "");
    sh(`unshare --net=${this.#namespace} true`);
    mkdirSync(this.#cgroup);
    const link = this.#link;
    sh(`ip link add ${link} type veth peer name ${link}-peer && ip link set ${link} up`);
    sh(`ip address add 10.93.${this.#number}.1/24 dev ${link}`);
    sh(`iptables -t nat -N ${link} && iptables -t nat -A ${link} -j ACCEPT`);
    mkdirSync(path.dirname(this.#address), { recursive: true });
    writeFileSync(this.#address, "");
    writeFileSync(this.#temporary, "");
    this.#queue = /\d+$/.exec(sh("ipcmk --queue").trim())?.[0] ?? "";
  }

  /** Removes everything, as a runtime does: its mount points, too. */
  [Symbol.dispose](): void {
    for (const mounted of [this.#root, this.#namespace]) {
      if (existsSync(mounted)) sh(`umount ${mounted}`);
    }
    rmSync(this.#disk, { recursive: true });
    if (this.#queue === "") return; // It never started.
    rmdirSync(this.#cgroup);
    const link = this.#link;
    sh(`ip link delete ${link} && iptables -t nat -F ${link} && iptables -t nat -X ${link}`);
    rmSync(path.dirname(this.#address), { recursive: true });
    rmSync(this.#temporary);
    sh(`ipcrm --queue-id ${this.#queue}`);
  }
}

/** The mount point of cgroup v2, or of the pids controller on a host with v1. */
export function anyHierarchy(): string {
  const type = sh("stat -fc %T /sys/fs/cgroup").trim();
  return type === "cgroup2fs" ? "/sys/fs/cgroup" : "/sys/fs/cgroup/pids";
}
