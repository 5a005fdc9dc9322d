import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxConfigSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { Sandbox } from "./sandbox.ts";
import { type IdPool, freeRange, neededNodeIds, nodeIdsOfPod, withOwnIds } from "./own-ids.ts";
import { checkUserNamespace, podUsers } from "./user-namespace.ts";

const pool: IdPool = { first: 100_000, end: 100_000 + 4 * 65_536, length: 65_536, reserved: [] };
type Init = Exclude<MessageInitShape<typeof PodSandboxConfigSchema>, PodSandboxConfig>;
const configOf = (init: Init = {}): PodSandboxConfig =>
  create(PodSandboxConfigSchema, { metadata: { name: "a", uid: "u" }, ...init });

/** A sandbox with this range. */
function owner(hostId: number, length = 65_536): Sandbox {
  return { config: withOwnIds(configOf(), { hostId, length }) } as Sandbox;
}

describe("withOwnIds()", () => {
  test("gives a valid config, and leaves the client's as it is", () => {
    const config = configOf();
    const own = withOwnIds(config, { hostId: 100_000, length: 65_536 });
    checkUserNamespace(own);
    const range = { containerId: 0, hostId: 100_000, length: 65_536 };
    const { uids, gids } = podUsers(own) ?? assert.fail("it has no ids");
    for (const { containerId, hostId, length } of [uids, gids]) {
      assert.deepEqual({ containerId, hostId, length }, range);
    }
    assert.deepEqual(config, configOf());
    assert.equal(podUsers(config), undefined);
  });
});

describe("freeRange()", () => {
  const at = (...sandboxes: readonly Sandbox[]): number | undefined =>
    freeRange(pool, sandboxes)?.hostId;

  test("gives the lowest range that nobody has", () => {
    assert.equal(at(), 100_000);
    assert.equal(at(owner(100_000)), 165_536);
    assert.equal(at(owner(165_536)), 100_000);
    assert.equal(at(owner(165_536), owner(100_000)), 231_072);
  });

  test("never overlaps with a range that a client chose", () => {
    assert.equal(at(owner(100_001, 1)), 165_536);
    assert.equal(at(owner(0, 100_001)), 165_536);
    assert.equal(at(owner(0, 100_000)), 100_000);
    assert.equal(at(owner(150_000)), 231_072);
    assert.equal(at(owner(99_999, 300_000)), undefined);
  });

  test("leaves out what belongs to others, and ends with the pool", () => {
    const reserved = [{ hostId: 100_000, length: 70_000 }];
    assert.equal(freeRange({ ...pool, reserved }, [])?.hostId, 231_072);
    const all = [0, 1, 2, 3].map((n) => owner(100_000 + n * 65_536));
    assert.equal(at(...all), undefined);
    assert.equal(at(...all.slice(1)), 100_000);
    assert.equal(freeRange({ ...pool, end: 100_000 + 65_535 }, []), undefined);
  });
});

describe("nodeIdsOfPod()", () => {
  const of = (securityContext: NonNullable<Init["linux"]>["securityContext"]): string | undefined =>
    nodeIdsOfPod(configOf({ linux: { securityContext } }), 65_536);

  test("finds nothing in an ordinary pod", () => {
    assert.equal(nodeIdsOfPod(configOf(), 65_536), undefined);
    assert.equal(of({ runAsUser: { value: 65_535n }, supplementalGroups: [1n] }), undefined);
    assert.equal(of({ namespaceOptions: { pid: NamespaceMode.CONTAINER } }), undefined);
  });

  test("names what needs the node's ids", () => {
    const { NODE } = NamespaceMode;
    assert.match(of({ namespaceOptions: { network: NODE } }) ?? "", /network/);
    assert.match(of({ namespaceOptions: { pid: NODE } }) ?? "", /processes/);
    assert.match(of({ namespaceOptions: { ipc: NODE } }) ?? "", /IPC/);
    assert.match(of({ privileged: true }) ?? "", /privileged/);
    assert.match(of({ runAsUser: { value: 65_536n } }) ?? "", /id 65536/);
    assert.match(of({ runAsGroup: { value: 1_000_650_000n } }) ?? "", /id 1000650000/);
    assert.match(of({ supplementalGroups: [1n, 70_000n] }) ?? "", /id 70000/);
  });
});

test("neededNodeIds() finds what an earlier sandbox of the same pod needed", () => {
  const range = { hostId: 1, length: 2 };
  const earlier = { config: configOf(), ownIds: { range, reason: "container needs it" } };
  const find = (...found: readonly object[]): string | undefined =>
    neededNodeIds(configOf(), found as readonly Sandbox[]);
  assert.equal(find(earlier), "container needs it");
  assert.equal(find({ ...earlier, ownIds: { range } }), undefined);
  const second = { ...earlier, ownIds: { reason: "container needs it", inherited: true } };
  assert.equal(find(second), "container needs it");
  assert.equal(find({ ...earlier, ownIds: { reason: "it uses the node's network" } }), undefined);
  assert.equal(find({ ...earlier, config: configOf({ metadata: { uid: "v" } }) }), undefined);
  const none = configOf({ metadata: { uid: "" } });
  assert.equal(
    neededNodeIds(none, [{ ...earlier, config: none } as unknown as Sandbox]),
    undefined,
  );
});
