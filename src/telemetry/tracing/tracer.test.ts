import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { type LogFields, silentLogger } from "../../base/logger.ts";
import type { Method } from "../../wire/grpc/call.ts";
import {
  answer,
  callOf,
  hex,
  type Metadata,
  path,
  silentNotes,
  spanId,
  traceId,
  tracing,
} from "./testing/tracing.ts";
import { Tracer, type TracerParts } from "./tracer.ts";

describe("which calls are recorded", () => {
  const count = async (parts: Partial<TracerParts>, metadata: Metadata = {}): Promise<number> => {
    const { spans, serve } = tracing(parts);
    for (let at = 0; at < 100; at++) await serve(() => Promise.resolve(answer), metadata);
    return spans.length;
  };
  const sampled = { traceparent: `00-${traceId}-${spanId}-01` };
  const unsampled = { traceparent: `00-${traceId}-${spanId}-00` };

  test("the ratio decides without a client's span", async () => {
    assert.equal(await count({ samplingRatio: 0 }), 0);
    assert.equal(await count({ samplingRatio: 1 }), 100);
    let at = 0;
    const random = (): number => (at++ % 100) / 100;
    assert.equal(await count({ samplingRatio: 0.25, random }), 25);
    const malformed = { traceparent: `00-${traceId}-${spanId}-zz` };
    assert.equal(await count({ samplingRatio: 0 }, malformed), 0);
    assert.equal(await count({ samplingRatio: 1 }, malformed), 100);
  });

  test("else the client decides", async () => {
    assert.equal(await count({ samplingRatio: 0 }, sampled), 100);
    assert.equal(await count({ samplingRatio: 1 }, unsampled), 0);
  });

  test("operations of other calls have no spans, nor has work outside of calls", async () => {
    const { spans, serve, run } = tracing();
    const work = async (): Promise<Uint8Array> => {
      await run("stop-container");
      return answer;
    };
    await serve(work, unsampled);
    await run("recover");
    assert.deepEqual(spans, []);
    await serve(work, sampled);
    assert.equal(spans.length, 2);
  });
});

describe("the span of a call", () => {
  test("belongs to the client's trace and has its tracestate", async () => {
    const { spans, serve } = tracing();
    const metadata = { traceparent: `00-${traceId}-${spanId}-01`, tracestate: "rojo=1" };
    assert.equal(await serve(() => Promise.resolve(answer), metadata), answer);
    const [span] = spans;
    assert.deepEqual([hex(span?.traceId), hex(span?.parentId)], [traceId, spanId]);
    assert.deepEqual([span?.isParentRemote, span?.traceState], [true, "rojo=1"]);
  });

  test("is a trace of its own without one; then tracestate means nothing", async () => {
    const { spans, serve } = tracing();
    await serve(() => Promise.resolve(answer), { traceparent: "junk", tracestate: "rojo=1" });
    const [span] = spans;
    assert.equal(span?.traceId.length, 16);
    assert.deepEqual(
      [span.parentId, span.isParentRemote, span.traceState, span.error],
      [undefined, false, "", undefined],
    );
  });

  test("has the names and ids of the log, without commands", async () => {
    const fields: LogFields[] = [
      {
        pod: "default/web/0",
        sandbox: "s1",
        containerName: "app",
        container: "c1",
        image: "busybox:1",
        imageId: "sha256:1",
        exitCode: 3,
        command: ["mysql", "--password=secret"],
        tty: true,
      },
    ];
    const { spans, serve } = tracing({
      callLog: {
        fieldsOf: () => Object.assign({}, ...fields) as LogFields,
        note: (_call, more) => void fields.push(more),
      },
    });
    await serve(() => Promise.resolve(answer));
    assert.deepEqual(spans[0]?.attributes, {
      "rpc.system": "grpc",
      "rpc.service": "runtime.v1.RuntimeService",
      "rpc.method": "RunPodSandbox",
      "rpc.grpc.status_code": 0,
      "k8s.namespace.name": "default",
      "k8s.pod.name": "web/0",
      "davit.sandbox.id": "s1",
      "k8s.container.name": "app",
      "container.id": "c1",
      "container.image.name": "busybox:1",
      "container.image.id": "sha256:1",
      "davit.exit_code": 3,
    });
    // The line in the log leads to the trace.
    assert.deepEqual(fields[1], { trace: hex(spans[0].traceId) });
  });

  test("has the status that the client saw", async () => {
    const { spans, serve } = tracing();
    const failing = (): Promise<Uint8Array> =>
      Promise.reject(new RuntimeError("not-found", 'stop container "x": it does not exist'));
    await assert.rejects(serve(failing), { message: 'stop container "x": it does not exist' });
    // The handler finishes after its client has left.
    const left = AbortSignal.abort(new RuntimeError("deadline-exceeded", "the deadline passed"));
    await serve(() => Promise.resolve(answer), {}, left);
    assert.deepEqual(
      spans.map(({ attributes, error }) => [attributes["rpc.grpc.status_code"], error]),
      [
        [5, 'stop container "x": it does not exist'],
        [4, "the deadline passed"],
      ],
    );
  });

  test("lasts for all answers of a stream, also when the client leaves", async () => {
    const { spans, tree, operations } = tracing();
    const run = (): Promise<void> =>
      operations.run(
        { name: "stop-container", subject: "a", timeoutMs: 1_000, log: silentLogger },
        () => Promise.resolve(),
      );
    const returned: boolean[] = [];
    const method: Method = {
      kind: "server-stream",
      handle: async function* () {
        try {
          for (;;) {
            await run();
            yield answer;
          }
        } finally {
          returned.push(true);
        }
      },
    };
    const tracer = new Tracer({
      sink: { add: (span) => void spans.push(span) },
      samplingRatio: 1,
      callLog: silentNotes,
      nowMs: () => Date.now(),
    });
    operations.observe(tracer.observer);
    const wrapped = tracer.wrap(new Map([[path, method]])).get(path);
    assert.equal(wrapped?.kind, "server-stream");
    let answers = 0;
    for await (const _ of wrapped.handle(new Uint8Array(), callOf({}))) {
      assert.deepEqual(returned, []);
      if (++answers === 2) break;
    }
    assert.deepEqual(returned, [true]);
    assert.deepEqual(tree(), [
      "- > runtime.v1.RuntimeService/RunPodSandbox",
      "runtime.v1.RuntimeService/RunPodSandbox > stop container",
      "runtime.v1.RuntimeService/RunPodSandbox > stop container",
    ]);
  });
});

describe("the spans of operations", () => {
  const root = "runtime.v1.RuntimeService/RunPodSandbox";
  const options = { subject: "ns/a", object: "id-a", timeoutMs: 60_000, log: silentLogger };

  test("are below the call, and have a span for each stage and plugin", async () => {
    const { serve, tree, spans, operations } = tracing();
    await serve(async () => {
      using operation = operations.begin({ name: "run-pod-sandbox", ...options });
      await operation.enter("write-record");
      await operation.enter("add-network");
      operation.workOn("add-network", "bridge");
      await operation.enter("network-plugin-done", "bridge");
      operation.workOn("add-network", "portmap");
      await operation.enter("network-plugin-done", "portmap");
      await operation.enter("network-added");
      await operation.enter("make-files");
      await operation.enter("answer");
      return answer;
    });
    const own = "run pod sandbox";
    assert.deepEqual(tree(), [
      `- > ${root}`,
      ...["make files", "network plugin bridge", "network plugin portmap", "write record"].map(
        (name) => `${own} > ${name}`,
      ),
      `${root} > ${own}`,
    ]);
    const operation = spans.find(({ name }) => name === own);
    assert.deepEqual(operation?.attributes, {
      "davit.operation": "run-pod-sandbox",
      "davit.subject": "ns/a",
      "davit.object": "id-a",
    });
    const plugin = spans.find(({ name }) => name === "network plugin bridge");
    assert.equal(plugin?.attributes["davit.network.plugin"], "bridge");
    assert.equal(new Set(spans.map(({ traceId: id }) => hex(id))).size, 1);
    const callMs = spans.at(-1)?.startMs ?? Number.NaN;
    for (const { startMs, endMs } of spans) {
      assert.ok(startMs <= endMs);
      assert.ok(startMs >= callMs);
    }
  });

  test("parallel operations within one are below the stage that began them", async () => {
    const { serve, tree, operations, run } = tracing();
    await serve(async () => {
      await operations.run({ name: "pull-image", ...options }, async (operation) => {
        await operation.enter("resolve");
        await operation.enter("fetch-layers");
        await Promise.all([run("pull-layer"), run("pull-layer")]);
        await operation.enter("answer");
      });
      // Begins after the first one has ended, in the same call.
      await run("stop-container");
      return answer;
    });
    assert.deepEqual(tree(), [
      `- > ${root}`,
      "fetch layers > pull layer",
      "fetch layers > pull layer",
      "pull image > fetch layers",
      "pull image > resolve",
      `${root} > pull image`,
      `${root} > stop container`,
    ]);
  });

  test("a failure marks the operation and the stage that failed, not those of the undo", async () => {
    const { serve, spans, operations } = tracing();
    const work = async (): Promise<Uint8Array> => {
      await operations.run({ name: "run-pod-sandbox", ...options }, async (operation) => {
        await operation.enter("add-network");
        await operation.enter("network-plugin-done", "bridge");
        operation.workOn("add-network", "portmap");
        await operation.undoing("pin-namespaces");
        throw new RuntimeError("unavailable", "iptables is locked");
      });
      return answer;
    };
    await assert.rejects(serve(work));
    const failed = spans.filter(({ error }) => error !== undefined);
    assert.deepEqual(
      failed.map(({ name }) => name),
      ["run pod sandbox", "network plugin portmap", root],
    );
    for (const { error } of failed) assert.match(error ?? "", /iptables is locked$/);
    assert.ok(spans.some(({ name }) => name === "pin namespaces"));
  });

  test("what continues after the call is recorded; what begins after it is not", async () => {
    const { serve, tree, operations, run } = tracing();
    const [later, after] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
    let background: Promise<void> | undefined;
    let late: Promise<void> | undefined;
    await serve(() => {
      background = operations.run({ name: "remove-pod-sandbox", ...options }, async (operation) => {
        await later.promise;
        await operation.enter("stop");
        await run("stop-pod-sandbox");
      });
      late = after.promise.then(() => run("stop-container"));
      return Promise.resolve(answer);
    });
    later.resolve(undefined);
    await background;
    after.resolve(undefined);
    await late;
    assert.deepEqual(tree(), [
      `- > ${root}`,
      "remove pod sandbox > stop",
      `${root} > remove pod sandbox`,
      "stop > stop pod sandbox",
    ]);
  });
});
