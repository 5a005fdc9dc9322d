import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { containerRequest } from "../testing/objects.ts";
import { createContainer } from "./create.ts";
import { removeContainersOf, stopContainersOf } from "./of-sandbox.ts";

/** A pod with two running containers and another pod with one. */
async function setUp(t: TestContext) {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const other = await engine.run({ metadata: { name: "b", namespace: "", uid: "", attempt: 0 } });
  const first = await engine.start(pod);
  const second = await engine.start(pod, { metadata: { name: "second", attempt: 0 } });
  return { engine, pod, first, second, strange: await engine.start(other) };
}

function stateOf(engine: FakeEngine, id: string): string | undefined {
  return engine.containers.store.peek(id)?.state.name;
}

describe("stopContainersOf()", () => {
  test("kills all containers of the sandbox, and no other", async (t) => {
    const { engine, pod, first, second, strange } = await setUp(t);
    await stopContainersOf(engine.containers, pod);
    const states = [first, second, strange].map((id) => stateOf(engine, id));
    assert.deepEqual(states, ["exited", "exited", "running"]);
    assert.equal(engine.world.runtime.signals.size, 0);
  });

  test("rejects with the first failure when all others have ended", async (t) => {
    const { engine, pod, first, second } = await setUp(t);
    engine.world.runtime.trouble.fail("killAll", new RuntimeError("internal", "it hangs"), 1);
    await assert.rejects(stopContainersOf(engine.containers, pod), /it hangs/);
    assert.deepEqual([stateOf(engine, first), stateOf(engine, second)], ["running", "exited"]);
  });

  test("ends a create that is not recorded yet", async (t) => {
    const { engine, pod } = await setUp(t);
    const hang = engine.faults.hang("create-container/write-record");
    const input = containerRequest(pod, { metadata: { name: "new", attempt: 0 } });
    const create = createContainer(engine.containers, input, never);
    const aborted = assert.rejects(create, { kind: "aborted", message: /is being stopped/ });
    await hang.arrived;
    await stopContainersOf(engine.containers, pod);
    await aborted;
    assert.equal([...engine.containers.store.all()].length, 3);
  });
});

describe("removeContainersOf()", () => {
  test("removes all containers of the sandbox, including those being created, and no other", async (t) => {
    const { engine, pod, strange } = await setUp(t);
    const hang = engine.faults.hang("create-container/write-record");
    const input = containerRequest(pod, { metadata: { name: "new", attempt: 0 } });
    const aborted = assert.rejects(createContainer(engine.containers, input, never));
    await hang.arrived;
    await removeContainersOf(engine.containers, pod);
    await aborted;
    assert.deepEqual(
      [...engine.containers.store.all()].map(({ id }) => id),
      [strange],
    );
    assert.deepEqual(engine.world.host.idsOf("root"), [strange]);
  });

  test("rejects with the first failure when all others are removed", async (t) => {
    const { engine, pod, first, second } = await setUp(t);
    engine.world.roots.trouble.fail("remove", undefined, 1);
    await assert.rejects(removeContainersOf(engine.containers, pod), /remove broke/);
    assert.deepEqual([stateOf(engine, first), stateOf(engine, second)], ["exited", undefined]);
  });
});
