import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { describe, test } from "node:test";
import {
  belongsOnHost,
  belongsToFile,
  newMark,
  ownsCgroup,
  ownsTemporary,
  testMark,
} from "./belongs.ts";
import type { Difference, LeakKind } from "./snapshot/shape.ts";

const more = (kind: LeakKind, name: string): Difference => ({ kind, name, count: 1 });
const gone = (kind: LeakKind, name: string): Difference => ({ kind, name, count: -1 });
const mark = "davit-12345678";

test("no two marks are alike, and all are davit's", () => {
  assert.match(testMark, /^davit-/);
  assert.notEqual(newMark(), newMark());
});

describe("ownsCgroup()", () => {
  for (const [cgroup, shared, strict] of [
    [`/${mark}-1`, true, true],
    [`/above/${mark}-1/pod`, true, true],
    [`/davit-87654321/pod`, false, true],
    ["/davit/0123", false, true],
    [`/kubepods/x${mark}`, false, false],
    ["/kubepods/pod1", false, false],
  ] as const) {
    test(`${cgroup}: shared ${shared}, strict ${strict}`, () => {
      assert.equal(ownsCgroup(cgroup, mark, false), shared);
      assert.equal(ownsCgroup(cgroup, mark, true), strict);
    });
  }
});

describe("ownsTemporary()", () => {
  for (const [name, shared, strict] of [
    [`/tmp/${mark}-left`, true, true],
    ["/tmp/davit-87654321-left", false, true],
    ["/tmp/davit-left", false, true],
    ["/tmp/davit-test-x1", false, false],
    ["/tmp/davit-ok.x1", false, false],
  ] as const) {
    test(`${name}: shared ${shared}, strict ${strict}`, () => {
      assert.equal(ownsTemporary(name, mark, false), shared);
      assert.equal(ownsTemporary(name, mark, true), strict);
    });
  }
});

describe("belongsToFile()", () => {
  test("counts everything that appeared, and everything except mounts that disappeared", () => {
    assert.ok(belongsToFile(more("mount", "/no/such/place (tmpfs x)")));
    assert.ok(belongsToFile(more("link", "veth0 (veth)")));
    assert.ok(belongsToFile(gone("link", "veth0 (veth)")));
    assert.ok(belongsToFile(gone("route", "10.0.0.0/8 dev x table main")));
  });

  test("counts a mount that is gone only where its place is there still, or is the file's", () => {
    assert.ok(belongsToFile(gone("mount", "/proc (proc proc)")));
    assert.ok(belongsToFile(gone("mount", "/proc (ext4 /dev/vda at /a (b)/c)")));
    assert.ok(belongsToFile(gone("mount", `${tmpdir()}/none (tmpfs x)`)));
    assert.ok(belongsToFile(gone("mount", `/none/${testMark}-x (tmpfs x)`)));
    assert.ok(belongsToFile(gone("namespace", `${tmpdir()}/none (net)`)));
    assert.ok(!belongsToFile(gone("mount", "/no/such/place (overlay overlay at /x)")));
    assert.ok(!belongsToFile(gone("namespace", "/run/netns/no-such (net)")));
  });
});

describe("belongsOnHost()", () => {
  const counts = belongsOnHost(mark, "/tmp/davit-test-abc");

  test("counts what bears the mark, lies in TMPDIR, or is a process", () => {
    for (const each of [
      more("cgroup", `/sys/fs/cgroup/pids/${mark}-1`),
      gone("file", `/tmp/${mark}-left`),
      more("link", `${mark} (bridge)`),
      more("mount", "/tmp/davit-test-abc/root/x (tmpfs x)"),
      more("process", "sleep pid 3 started 4: sleep 5"),
    ]) {
      assert.ok(counts(each), each.name);
    }
  });

  test("leaves out what a stranger made or removed", () => {
    for (const each of [
      more("mount", "/run/containerd/x/rootfs (overlay overlay)"),
      gone("namespace", "/run/netns/cni-1 (net)"),
      more("link", "veth12345678 (veth)"),
      more("iptables", "iptables-save nat -A POSTROUTING -s 10.92.0.3/32 -j CNI-1"),
      more("mount", "/tmp/davit-test-other/root/x (tmpfs x)"),
      more("cni", "/var/lib/cni/networks/davit-test/10.92.0.2"),
      more("ipc", "msg id 3 key 4"),
    ]) {
      assert.ok(!counts(each), each.name);
    }
  });
});
