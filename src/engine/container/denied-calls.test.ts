import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { DeniedCalls } from "./denied-calls.ts";
import { startContainer } from "./start.ts";

async function running(t: TestContext) {
  const engine = new FakeEngine(t);
  const id = await engine.start(await engine.run());
  const lines: string[] = [];
  const stopped = Promise.withResolvers<string>();
  const log = {
    ...silentLogger,
    warn: (message: string, fields: object = {}) => {
      lines.push(`${message} ${(fields as { readonly syscall?: string }).syscall ?? ""}`);
    },
  };
  const { store, sandboxes } = engine.containers;
  const calls = new DeniedCalls({
    store,
    sandboxes,
    log,
    stop: (which) => {
      stopped.resolve(which);
      return Promise.resolve();
    },
    startedSpec: () => Promise.resolve(undefined),
  });
  t.after(() => calls[Symbol.dispose]());
  return { engine, id, lines, calls, time: engine.world.time, stopped: stopped.promise };
}

test("DeniedCalls counts calls by name, and logs the first of each", async (t) => {
  const { id, lines, calls } = await running(t);
  for (const name of ["mount", "bpf", "mount", "mount"]) calls.add(id, name, "log");
  assert.deepEqual(calls.of(id), { bpf: 1, mount: 3 });
  assert.deepEqual(lines, [
    "the seccomp filter denied a system call mount",
    "the seccomp filter denied a system call bpf",
  ]);
  assert.deepEqual(
    [...calls.totals],
    [
      ["mount", 3],
      ["bpf", 1],
    ],
  );
  assert.equal(calls.stopped(id), undefined);
});

test("DeniedCalls keeps a few numbers without a name, since a container chooses them", async (t) => {
  const { id, lines, calls } = await running(t);
  for (let number = 9_000; number < 9_100; number++) calls.add(id, `#${number}`, "log");
  calls.add(id, "#9000", "log");
  calls.add(id, "mount", "log");
  const counts = calls.of(id) ?? {};
  assert.equal(Object.keys(counts).length, 18);
  assert.deepEqual([counts["#9000"], counts["unknown"], counts["mount"]], [2, 84, 1]);
  assert.equal(lines.length, 18);
  assert.deepEqual(Object.fromEntries(calls.totals), { unknown: 101, mount: 1 });
});

test("DeniedCalls stops a container once, with all its calls in the message", async (t) => {
  const { id, calls, time, stopped } = await running(t);
  calls.add(id, "mount", "stop");
  calls.add(id, "bpf", "stop");
  await time.advance(5_000);
  assert.equal(await stopped, id);
  calls.add(id, "mount", "stop");
  assert.equal(calls.stopped(id), "Used forbidden syscalls: bpf (1x), mount (2x)");
});

test("DeniedCalls stops a container whose start takes longer than that moment", async (t) => {
  const { engine, calls, time, stopped } = await running(t);
  const [pod = ""] = [...engine.sandboxes.store.all()].map((sandbox) => sandbox.id);
  const id = await engine.create(pod, { metadata: { name: "slow" } });
  calls.add(id, "mount", "stop");
  await time.advance(5_000);
  assert.equal(calls.stopped(id), undefined);
  await startContainer(engine.containers, id, never);
  await time.advance(5_000);
  assert.equal(await stopped, id);
});

test("DeniedCalls counts the calls of containers that it does not know, and keeps nothing of them", async (t) => {
  const { calls, lines } = await running(t);
  calls.add("gone", "mount", "stop");
  assert.equal(calls.of("gone"), undefined);
  assert.equal(calls.totals.get("mount"), 1);
  assert.deepEqual(lines, []);
});

test("DeniedCalls says after a restart that calls fail with ENOSYS, of containers that had the notifier", async (t) => {
  const annotations = { "seccomp-notifier-action.crio.io": "log" };
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.start(pod, { annotations });
  const other = await engine.start(pod, { annotations, metadata: { name: "unconfined" } });
  await engine.start(pod, { metadata: { name: "plain" } });
  const next = await engine.restart();
  const [lines, asked]: [object[], string[]] = [[], []];
  const { store, sandboxes } = next.containers;
  const listenerPath = "/run/davit/seccomp.sock";
  using _calls = new DeniedCalls({
    store,
    sandboxes,
    log: { ...silentLogger, warn: (_text: string, fields = {}) => lines.push(fields) },
    stop: () => Promise.resolve(),
    startedSpec: (container) => {
      asked.push(container.id);
      const seccomp = { defaultAction: "SCMP_ACT_ERRNO", listenerPath };
      const linux = container.id === id ? { seccomp } : {};
      return Promise.resolve({ linux } as unknown as OciSpec);
    },
  });
  await next.recover();
  await new Promise(setImmediate);
  assert.deepEqual(asked.toSorted(), [id, other].toSorted());
  assert.equal(lines.length, 1);
  assert.partialDeepStrictEqual(lines[0], { container: id });
});
