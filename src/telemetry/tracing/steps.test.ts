import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { StepEnd } from "../../core/operation/index.ts";
import type { Span } from "./span.ts";
import { answer, hex, path, spanId, traceId, tracing } from "./testing/tracing.ts";

describe("the span of a step", () => {
  const sampled = { traceparent: `00-${traceId}-${spanId}-01` };

  test("is below its operation, beside the stages, and may end after them", async () => {
    const { spans, serve, run, operations } = tracing();
    let end: StepEnd | undefined;
    await serve(async () => {
      await run("pull-layer", async (operation) => {
        end = operations.step({ name: "download layer", attributes: { a: 1 } });
        await operation.enter("unpack");
      });
      return answer;
    }, sampled);
    end?.({ attributes: { bytes: 7 }, error: "cut" });
    end?.();
    const named = (name: string): Span | undefined => spans.find((span) => span.name === name);
    const [step, operation] = [named("download layer"), named("pull layer")];
    assert.deepEqual(hex(step?.parentId), hex(operation?.spanId));
    assert.deepEqual(hex(named("unpack")?.parentId), hex(operation?.spanId));
    assert.deepEqual(step?.attributes, { a: 1, bytes: 7 });
    assert.equal(step.error, "cut");
    assert.equal(spans.filter(({ name }) => name === "download layer").length, 1);
  });

  test("is below the only operation that was begun without a context of its own", async () => {
    const { tree, serve, operations } = tracing();
    const step = { name: "OCI runtime start", attributes: {} };
    const options = { name: "start-container", timeoutMs: 60_000, log: silentLogger } as const;
    await serve(async () => {
      using _one = operations.begin({ ...options, subject: "a" });
      operations.step(step)?.();
      using _other = operations.begin({ ...options, subject: "b" });
      operations.step({ ...step, name: "OCI runtime kill" })?.();
      return answer;
    }, sampled);
    const all = tree();
    assert.ok(all.includes("start container > OCI runtime start"), all.join());
    assert.ok(all.includes(`${path.slice(1)} > OCI runtime kill`), all.join());
  });

  test("does not exist outside of recorded calls", async () => {
    const { spans, serve, operations } = tracing();
    const step = { name: "OCI runtime start", attributes: {} };
    assert.equal(operations.step(step), undefined);
    const later = Promise.withResolvers<undefined>();
    let begun: Promise<StepEnd | undefined> | undefined;
    await serve(async () => {
      begun = later.promise.then(() => operations.step(step));
      return answer;
    }, sampled);
    later.resolve(undefined);
    assert.equal(await begun, undefined, "what a call left behind does not belong to it");
    assert.equal(spans.length, 1);
  });
});
