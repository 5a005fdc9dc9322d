import assert from "node:assert/strict";
import { silentLogger } from "../../../base/logger.ts";
import { systemClock } from "../../../base/time.ts";
import {
  noFaults,
  type OperationName,
  Operations,
  type RunningOperation,
} from "../../../core/operation/index.ts";
import type { Call, Method } from "../../../wire/grpc/call.ts";
import type { Span } from "../span.ts";
import { Tracer, type TracerParts } from "../tracer.ts";

export const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
export const spanId = "00f067aa0ba902b7";
export const path = "/runtime.v1.RuntimeService/RunPodSandbox";
export const answer = new Uint8Array([7]);

export const silentNotes: TracerParts["callLog"] = { fieldsOf: () => ({}), note: () => undefined };

export type Metadata = Readonly<Record<string, string>>;

export const callOf = (metadata: Metadata, signal = new AbortController().signal): Call => ({
  method: path,
  id: 1,
  signal,
  startedAt: Date.now(),
  sendHeaders: () => undefined,
  metadata: (name) => metadata[name],
});

export const hex = (id: Uint8Array | undefined): string => Buffer.from(id ?? []).toString("hex");

/** A tracer, the spans that it made, and operations that it observes. */
export function tracing(parts: Partial<TracerParts> = {}): {
  readonly spans: Span[];
  readonly operations: Operations;
  /** The spans as "parent > name". */
  readonly tree: () => readonly string[];
  readonly serve: (
    work: (call: Call) => Promise<Uint8Array>,
    metadata?: Metadata,
    signal?: AbortSignal,
  ) => Promise<Uint8Array>;
  readonly run: (
    name: OperationName,
    work?: (operation: RunningOperation) => Promise<void>,
  ) => Promise<void>;
} {
  const spans: Span[] = [];
  const operations = new Operations({ faults: noFaults, clock: systemClock });
  const tracer = new Tracer({
    sink: { add: (span) => void spans.push(span) },
    samplingRatio: 1,
    callLog: silentNotes,
    nowMs: () => Date.now(),
    ...parts,
  });
  operations.observe(tracer.observer);
  const nameOf = (id: Uint8Array | undefined): string =>
    spans.find((each) => hex(each.spanId) === hex(id))?.name ?? "-";
  return {
    spans,
    operations,
    tree: () => spans.map(({ parentId, name }) => `${nameOf(parentId)} > ${name}`).toSorted(),
    serve: (work, metadata = {}, signal) => {
      const method: Method = { kind: "unary", handle: (_bytes, call) => work(call) };
      const wrapped = tracer.wrap(new Map([[path, method]])).get(path);
      assert.equal(wrapped?.kind, "unary");
      return wrapped.handle(new Uint8Array(), callOf(metadata, signal));
    },
    run: (name, work = () => Promise.resolve()) =>
      operations.run({ name, subject: "a", timeoutMs: 60_000, log: silentLogger }, work),
  };
}
