import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NamespaceMode } from "../gen/runtime/v1/api_pb.ts";
import { chooseHostIds, podIdCount, subordinateIds, withIdMapping } from "./ids.ts";
import { parsePodManifests } from "./parse.ts";

describe("chooseHostIds()", () => {
  test("returns a range after the node's, and the same one again", () => {
    for (const uid of ["a", "b", "c"]) {
      const first = chooseHostIds(uid, []) ?? 0;
      assert.equal(first % podIdCount, 0);
      assert.ok(first >= podIdCount && first + podIdCount <= 2 ** 31, String(first));
      assert.equal(chooseHostIds(uid, []), first);
    }
    assert.notEqual(chooseHostIds("a", []), chooseHostIds("b", []));
  });

  test("skips ranges that overlap with others, and wraps around after the last one", () => {
    const first = chooseHostIds("a", []) ?? 0;
    const next = first + podIdCount;
    for (const taken of [
      { first, length: podIdCount },
      { first: first - 10, length: 11 },
      { first: next - 1, length: 1 },
      { first: first + 5, length: 1 },
    ]) {
      assert.equal(chooseHostIds("a", [taken]), next);
    }
    const adjacent = { first: first - 10, length: 10 };
    assert.equal(chooseHostIds("a", [adjacent, { first: next, length: 5 }]), first);
    assert.equal(chooseHostIds("a", [{ first, length: 2 ** 32 - first }]), podIdCount);
  });

  test("returns undefined when all ranges are taken", () => {
    assert.equal(chooseHostIds("a", [{ first: 0, length: 2 ** 32 }]), undefined);
  });
});

test("withIdMapping() maps users and groups, and does not change the manifest", () => {
  const [pod] = parsePodManifests(
    "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {hostUsers: false, containers: [{name: c, image: i}]}}",
    "pod.yaml",
    { podsRoot: "/pods", resolvConf: "", nodeName: "node-1", memoryBytes: 2 ** 30 },
  );
  assert.equal(pod?.userNamespace, true);
  const users = (manifest: typeof pod) =>
    manifest.sandbox.linux?.securityContext?.namespaceOptions?.usernsOptions;
  const made = users(withIdMapping(pod, 131_072));
  assert.equal(made?.mode, NamespaceMode.POD);
  for (const mappings of [made.uids, made.gids]) {
    assert.deepEqual(
      mappings.map(({ hostId, containerId, length }) => [hostId, containerId, length]),
      [[131_072, 0, 65_536]],
    );
  }
  assert.equal(users(pod), undefined);
});

test("subordinateIds() reads the format of subuid(5)", () => {
  assert.deepEqual(subordinateIds("user:100000:65536\n# a:1:2\n1000:300000:10\nbad:x:1\n"), [
    { first: 100_000, length: 65_536 },
    { first: 300_000, length: 10 },
  ]);
});
