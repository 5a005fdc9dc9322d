import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { isKind } from "../../base/errors.ts";
import { podUsers } from "../../core/sandbox/index.ts";
import { NamespaceMode } from "../../gen/runtime/v1/api_pb.ts";
import { startContainer } from "../container/start.ts";
import { stopContainer } from "../container/stop.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { podRequest } from "../testing/objects.ts";
import type { OwnIdsPolicy } from "./context.ts";
import { removePodSandbox } from "./remove.ts";
import { runPodSandbox } from "./run.ts";

const length = 65_536;
const first = 700_000;

function setUp(t: TestContext, changes: Partial<OwnIdsPolicy> = {}) {
  const engine = new FakeEngine(t);
  const pool = { first, end: first + 2 * length, length, reserved: [] };
  const policy = { pool, isFor: () => true, obstacle: () => undefined, ...changes };
  const context = { ...engine.sandboxes, ownIds: policy };
  let count = 0;
  const run = async (config: Parameters<typeof podRequest>[0] = {}) => {
    const metadata = { name: `p${count++}`, namespace: "default", uid: "u", attempt: count };
    const id = await runPodSandbox(context, podRequest({ metadata, ...config }), never);
    return context.store.get(id);
  };
  return { engine, context, run };
}

describe("runPodSandbox() where pods get ids of their own", () => {
  test("gives each pod a range until it is removed, and records it", async (t) => {
    const { engine, context, run } = setUp(t);
    const one = await run();
    assert.deepEqual(one.ownIds, { range: { hostId: first, length } });
    assert.equal(podUsers(one.config)?.uids.hostId, first);
    assert.deepEqual(engine.world.records.sandboxes.rows.get(one.id)?.ownIds, one.ownIds);
    const other = await run();
    assert.equal(other.ownIds?.range?.hostId, first + length);
    const late = await run();
    assert.match(late.ownIds?.reason ?? "", /all ranges of ids are in use/);
    assert.equal(podUsers(late.config), undefined);
    await removePodSandbox(context, one.id, never);
    assert.equal((await run()).ownIds?.range?.hostId, first);
  });

  test("gives two pods that are made at the same time different ranges", async (t) => {
    const { run } = setUp(t);
    const made = await Promise.all([run(), run()]);
    const ids = made.map(({ ownIds }) => ownIds?.range?.hostId ?? 0);
    assert.deepEqual(ids.toSorted(), [first, first + length]);
  });

  test("says why a pod has the ids of the node", async (t) => {
    const { engine, run } = setUp(t);
    const namespaceOptions = { network: NamespaceMode.NODE };
    const { ownIds, config } = await run({ linux: { securityContext: { namespaceOptions } } });
    assert.deepEqual(ownIds, { reason: "it uses the node's network" });
    assert.equal(podUsers(config), undefined);
    const line = engine.log.find(({ message }) => message === "a pod has the ids of the node");
    assert.equal(line?.fields["reason"], "it uses the node's network");
    engine.world.handlers.noUserNamespaces = "its OCI runtime is old";
    assert.match((await run()).ownIds?.reason ?? "", /its OCI runtime is old/);
  });

  test("asks about the node", async (t) => {
    const { run } = setUp(t, { obstacle: () => 'directory "/x" cannot be entered' });
    assert.match((await run()).ownIds?.reason ?? "", /"\/x"/);
  });

  test("asks about the handler", async (t) => {
    const { run } = setUp(t, { isFor: () => false });
    assert.equal((await run()).ownIds, undefined);
  });

  test("leaves alone a pod that asks for a user namespace, and its ids", async (t) => {
    const { run } = setUp(t);
    const mapping = [{ containerId: 0, hostId: first, length }];
    const usernsOptions = { mode: NamespaceMode.POD, uids: mapping, gids: mapping };
    const asked = await run({
      linux: { securityContext: { namespaceOptions: { usernsOptions } } },
    });
    assert.equal(asked.ownIds, undefined);
    assert.equal((await run()).ownIds?.range?.hostId, first + length);
  });
});

describe("createContainer() in a pod with ids of its own", () => {
  async function setUpPod(t: TestContext) {
    const { engine, context, run } = setUp(t);
    const pod = await run();
    const create = (sandbox: string, name: string): Promise<string> =>
      engine.create(sandbox, { metadata: { name } });
    return { engine, context, run, pod, create, store: engine.sandboxes.store };
  }
  const needed = "uses devices of the node";

  test("refuses what needs the ids of the node, and the next sandboxes have them", async (t) => {
    const { engine, context, run, pod, create, store } = await setUpPod(t);
    engine.world.specs.needsNodeIds = needed;
    await assert.rejects(create(pod.id, "app"), (error) => {
      assert.match(String(error), /it uses devices of the node.*run a new sandbox/);
      return isKind(error, "failed-precondition");
    });
    assert.deepEqual([...engine.containers.store.all()], []);
    const { state, ownIds } = store.get(pod.id);
    assert.equal(state.name, "dead");
    assert.match(ownIds?.reason ?? "", /^container ".*" uses devices of the node$/);
    const next = await run();
    assert.deepEqual(next.ownIds, { reason: ownIds?.reason, inherited: true });
    await create(next.id, "app");
    // kubelet removes the sandboxes that it has replaced.
    await removePodSandbox(context, pod.id, never);
    const third = await run();
    assert.deepEqual(third.ownIds, next.ownIds);
    await removePodSandbox(context, next.id, never);
    const namespaceOptions = { network: NamespaceMode.NODE };
    const onNode = await run({ linux: { securityContext: { namespaceOptions } } });
    assert.deepEqual(onNode.ownIds, next.ownIds);
    const stranger = await run({ metadata: { name: "x", namespace: "default", uid: "v" } });
    assert.notEqual(stranger.ownIds?.range, undefined);
  });

  for (const left of ["a running container", "an exited init container"]) {
    test(`leaves a sandbox with ${left} as it is`, async (t) => {
      const { engine, run, pod, create, store } = await setUpPod(t);
      const { range } = pod.ownIds ?? {};
      const first = await create(pod.id, "first");
      await startContainer(engine.containers, first, never);
      if (left.includes("exited")) {
        await stopContainer(engine.containers, first, 0n, never);
      }
      const before = engine.containers.store.get(first);
      engine.world.specs.needsNodeIds = needed;
      for (let retry = 0; retry < 2; retry++) {
        await assert.rejects(create(pod.id, "second"), (error) => {
          assert.match(String(error), /user_namespaces = "requested".*hostUsers: false/);
          return isKind(error, "failed-precondition");
        });
      }
      assert.equal(store.get(pod.id).state.name, "ready");
      assert.deepEqual([...engine.containers.store.all()], [before]);
      const said = engine.log.filter(({ message }) => message.startsWith("a container needs"));
      assert.deepEqual(
        said.map(({ fields }) => fields["reason"]),
        ['container "second" uses devices of the node'],
      );
      // It continues with what can have these ids, and the next sandbox can have them all.
      engine.world.specs.needsNodeIds = undefined;
      await create(pod.id, "third");
      assert.deepEqual(store.get(pod.id).ownIds?.range, range);
      assert.equal((await run()).ownIds?.range, undefined);
    });
  }
});
