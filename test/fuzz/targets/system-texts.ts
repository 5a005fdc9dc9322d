/** Texts of images and of the kernel: /etc/passwd and /etc/group of an image, mountinfo and files of cgroups. */
import assert from "node:assert/strict";

import { resolveUser } from "../../../src/drivers/host-spec/root-users.ts";
import { cgroupParts, detectCgroups } from "../../../src/linux/cgroup/layout.ts";
import { parseOomKills } from "../../../src/linux/cgroup/oom.ts";
import { parseMountInfo } from "../../../src/linux/mount/mounts.ts";
import { attempt, type FuzzTarget, textSeeds } from "../target.ts";

const anyLength = Number.POSITIVE_INFINITY;

function checkUsers(text: string): void {
  const first = text.split("\n", 1)[0] ?? "";
  for (const user of [first.slice(0, 256), "app", "1000", "app:staff", ":", "4294967295"]) {
    const wanted = { user, mergeImageGroups: true, supplementalGroups: [] };
    const kinds = ["not-found", "invalid-argument"] as const;
    const found = attempt(kinds, () => resolveUser(wanted, text, text));
    if (found === undefined) continue;
    assert.ok(found.uid >= 0n && found.gid >= 0n);
    // A number is an id, whatever the image calls by it.
    const [name = ""] = user.split(":");
    if (/^\d+$/.test(name)) assert.equal(found.uid, BigInt(name));
  }
}

export const target: FuzzTarget = {
  name: "system-texts",
  seeds: () =>
    textSeeds(
      "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:\n1000:x:0:0::/:\n",
      "root:x:0:\nstaff:x:50:app,root\napp:x:4294967296:\n",
      "24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n25 24 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
      "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n31 24 0:27 /a\\040b /x\\134y rw master:1 - tmpfs tmpfs rw\n",
      "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n",
      "/kubepods/besteffort/pod1",
    ),
  words: [" - ", "cgroup2", "\\040", "oom_kill 1", ":x:0:0:", "app", ",", "shared:1"],
  check: (input) => {
    const text = input.toString("utf8");
    checkUsers(text);
    attempt(["internal"], () => parseMountInfo(text), anyLength);
    attempt(
      ["internal", "failed-precondition", "unimplemented"],
      () => detectCgroups(text),
      anyLength,
    );
    const kills = parseOomKills(text);
    assert.ok(kills >= 0 || Number.isNaN(kills));
    const parts = attempt(["invalid-argument"], () => cgroupParts(text), anyLength);
    for (const part of parts ?? []) assert.ok(part !== ".." && part !== "." && !part.includes("/"));
  },
};
