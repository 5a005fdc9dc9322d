import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind } from "../../base/errors.ts";
import {
  containerCgroup,
  containerOfCgroup,
  isAloneInCgroup,
  isScope,
  slicePath,
} from "./cgroup-paths.ts";
import type { Sandbox } from "./sandbox.ts";

const id = "0123456789abcdef".repeat(4);

test("slicePath() returns the path of a slice for its name and for its path", () => {
  const pod = "kubepods-burstable-pod1234_abcd.slice";
  const path = `/kubepods.slice/kubepods-burstable.slice/${pod}`;
  assert.equal(slicePath(pod), path);
  assert.equal(slicePath(path), path);
  assert.equal(slicePath("system.slice"), "/system.slice");
  assert.equal(slicePath("a\\x2db-c.slice"), "/a\\x2db.slice/a\\x2db-c.slice");
});

test("slicePath() rejects names that are not slices", () => {
  const wrong = [
    "/kubepods/burstable/pod1",
    ".slice",
    "-.slice",
    "a--b.slice",
    "-a.slice",
    "a-.slice",
    "a b.slice",
    "a.scope",
    `${"a".repeat(250)}.slice`,
  ];
  for (const each of wrong) {
    assert.throws(
      () => slicePath(each),
      (error) => isKind(error, "invalid-argument") && String(error).includes("a-b.slice"),
      each,
    );
  }
});

test("containerCgroup() is a directory with cgroupfs, and a scope in the slice with systemd", () => {
  assert.deepEqual(containerCgroup({ parent: "/kubepods/pod1", ownedFrom: undefined }, id), {
    path: `/kubepods/pod1/${id}`,
    specPath: `/kubepods/pod1/${id}`,
  });
  // The driver is cgroupfs, so the name has no special meaning.
  const { path } = containerCgroup({ parent: "/a.slice", ownedFrom: undefined }, id);
  assert.equal(path, `/a.slice/${id}`);
  const scope = containerCgroup(
    { parent: "/kubepods.slice/kubepods-pod1.slice", ownedFrom: undefined, driver: "systemd" },
    id,
  );
  assert.deepEqual(scope, {
    path: `/kubepods.slice/kubepods-pod1.slice/cri-containerd-${id}.scope`,
    specPath: `kubepods-pod1.slice:cri-containerd:${id}`,
  });
  assert.deepEqual([isScope(scope.path), isScope(path)], [true, false]);
  for (const each of [scope.path, path]) {
    assert.equal(containerOfCgroup(each.slice(each.lastIndexOf("/") + 1)), id);
  }
});

void test("isAloneInCgroup() sees sandboxes in the same cgroup and below, unless they are stopped", () => {
  const at = (id: string, parent: string, state = "ready"): Sandbox =>
    ({ id, cgroup: { parent, ownedFrom: undefined }, state: { name: state } }) as Sandbox;
  const own = at("a", "/pods/a");
  const isAlone = (...others: readonly Sandbox[]): boolean =>
    isAloneInCgroup(own, [own, ...others]);
  assert.equal(isAlone(), true);
  assert.equal(isAlone(at("b", "/pods/ab"), at("c", "/pods"), at("d", "/pods/a", "stopped")), true);
  assert.equal(isAlone(at("b", "/pods/a", "dead")), false);
  assert.equal(isAlone(at("b", "/pods/a/b", "creating")), false);
});
