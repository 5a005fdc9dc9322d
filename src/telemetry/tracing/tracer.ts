import { AsyncLocalStorage } from "node:async_hooks";
import { kindOf, messageOf } from "../../base/errors.ts";
import type { LogFields } from "../../base/logger.ts";
import type {
  OperationObserver,
  RunningOperation,
  Step,
  StepEnd,
} from "../../core/operation/index.ts";
import type { Call, Method } from "../../wire/grpc/call.ts";
import { grpcCodeOfKind, grpcOk } from "../../wire/grpc/status.ts";
import { callAttributes } from "./call-attributes.ts";
import { OperationSpan, type SpanParent } from "./operation-spans.ts";
import { newSpanId, newTraceId, type SpanSink } from "./span.ts";
import {
  checkedTracestate,
  isSampledByClient,
  isTraceparent,
  type RemoteParent,
  remoteParent,
} from "./trace-context.ts";

/** The log lines of calls. */
export interface CallNotes {
  /** The fields of the line of a call. */
  fieldsOf(call: Call): LogFields;
  /** Adds fields to it. */
  note(call: Call, fields: LogFields): void;
}

/** What a tracer is made of. */
export interface TracerParts {
  readonly sink: SpanSink;
  /** The part of the calls without a client's span that is recorded, from 0 to 1. */
  readonly samplingRatio: number;
  readonly callLog: CallNotes;
  /** Milliseconds since 1970, with fractions. */
  readonly nowMs: () => number;
  /** From 0 to 1, exclusive. */
  readonly random?: () => number;
}

/**
 * Makes a span of each recorded call, and below it one of each operation and of its stages.
 *
 * Whether a call is recorded is decided once, before its handler runs: as its client decided, or by the sampling
 * ratio for a client without tracing. Calls that are not recorded leave nothing behind, not even an
 * asynchronous context, so their operations have none either.
 */
export class Tracer {
  readonly #parts: TracerParts;
  readonly #random: () => number;
  readonly #current = new AsyncLocalStorage<SpanParent>();
  readonly #operations = new WeakMap<RunningOperation, OperationSpan>();

  constructor(parts: TracerParts) {
    this.#parts = parts;
    this.#random = parts.random ?? Math.random;
  }

  /** The methods of a server, with a span for each call. */
  wrap(methods: ReadonlyMap<string, Method>): ReadonlyMap<string, Method> {
    return new Map([...methods].map(([path, method]) => [path, this.#wrapped(method)]));
  }

  /** Makes the spans of operations that begin in recorded calls. */
  readonly observer: OperationObserver = {
    began: (operation) => {
      const parent = this.#current.getStore();
      if (parent?.isOpen !== true) return;
      const span = new OperationSpan(parent, operation, this.#parts.nowMs());
      parent.begun.add(span);
      this.#operations.set(operation, span);
    },
    within: (operation, work) => {
      const span = this.#operations.get(operation);
      return span === undefined ? work() : this.#current.run(span, work);
    },
    ended: (operation, past) => {
      const span = this.#operations.get(operation);
      if (span === undefined) return;
      for (const each of span.finished(past, this.#parts.nowMs())) this.#parts.sink.add(each);
    },
    step: (step) => {
      const parent = this.#current.getStore();
      return parent?.isOpen === true ? this.#step(operationIn(parent), step) : undefined;
    },
  };

  /** The span of a step is beside those of the stages, as it may overlap them. */
  #step(parent: SpanParent, { name, attributes }: Step): StepEnd {
    const { traceId, traceState, spanId: parentId } = parent;
    const startMs = this.#parts.nowMs();
    let isOver = false;
    return (outcome) => {
      if (isOver) return;
      isOver = true;
      this.#parts.sink.add({
        traceId,
        spanId: newSpanId(),
        parentId,
        isParentRemote: false,
        traceState,
        name,
        kind: "internal",
        startMs,
        endMs: this.#parts.nowMs(),
        attributes: { ...attributes, ...outcome?.attributes },
        error: outcome?.error,
      });
    };
  }

  #wrapped(method: Method): Method {
    if (method.kind === "unary") {
      return {
        kind: "unary",
        handle: (bytes, call) => {
          const span = this.#begin(call);
          if (span === undefined) return method.handle(bytes, call);
          return this.#serve(span, call, () => method.handle(bytes, call));
        },
      };
    }
    if (method.kind === "stream") {
      return {
        kind: "stream",
        handle: (requests, call) => {
          const span = this.#begin(call);
          if (span === undefined) return method.handle(requests, call);
          return this.#stream(span, call, () => method.handle(requests, call));
        },
      };
    }
    return {
      kind: "server-stream",
      handle: (bytes, call) => {
        const span = this.#begin(call);
        if (span === undefined) return method.handle(bytes, call);
        return this.#stream(span, call, () => method.handle(bytes, call));
      },
    };
  }

  /** The span of a call; undefined if it is not recorded. */
  #begin(call: Call): CallSpan | undefined {
    const traceparent = call.metadata("traceparent");
    if (traceparent !== undefined && isTraceparent(traceparent)) {
      return isSampledByClient(traceparent)
        ? this.#record(call, remoteParent(traceparent))
        : undefined;
    }
    return this.#random() < this.#parts.samplingRatio ? this.#record(call, undefined) : undefined;
  }

  #record(call: Call, parent: RemoteParent | undefined): CallSpan {
    const { callLog, nowMs } = this.#parts;
    const span = new CallSpan(call, nowMs(), parent);
    // So that a line of the log leads to its trace.
    callLog.note(call, { trace: Buffer.from(span.traceId).toString("hex") });
    return span;
  }

  async #serve(span: CallSpan, call: Call, work: () => Promise<Uint8Array>): Promise<Uint8Array> {
    try {
      const answer = await this.#current.run(span, work);
      this.#end(span, call, undefined);
      return answer;
    } catch (error) {
      this.#end(span, call, { error });
      throw error;
    }
  }

  async *#stream(
    span: CallSpan,
    call: Call,
    work: () => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array> {
    let failure: { readonly error: unknown } | undefined;
    try {
      const answers = this.#current.run(span, work)[Symbol.asyncIterator]();
      try {
        for (;;) {
          // A generator runs in the context of whoever asks for its next value.
          const step = await this.#current.run(span, () => answers.next());
          if (step.done === true) return;
          yield step.value;
        }
      } finally {
        await answers.return?.();
      }
    } catch (error) {
      failure = { error };
      throw error;
    } finally {
      this.#end(span, call, failure);
    }
  }

  #end(span: CallSpan, call: Call, failure: { readonly error: unknown } | undefined): void {
    span.isOpen = false;
    const { callLog } = this.#parts;
    // What the client saw counts: its deadline, or that it left, although the handler may have finished.
    const cause = call.signal.aborted ? { error: call.signal.reason as unknown } : failure;
    const code = cause === undefined ? grpcOk : grpcCodeOfKind[kindOf(cause.error)];
    const [, service = "", method = ""] = call.method.split("/");
    this.#parts.sink.add({
      traceId: span.traceId,
      spanId: span.spanId,
      parentId: span.parent?.spanId,
      isParentRemote: span.parent !== undefined,
      traceState: span.traceState,
      name: call.method.slice(1),
      kind: "server",
      startMs: span.startMs,
      endMs: this.#parts.nowMs(),
      attributes: {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": code,
        ...callAttributes(callLog.fieldsOf(call)),
      },
      error: cause === undefined ? undefined : messageOf(cause.error),
    });
  }
}

/** The only operation in progress that began in a call, as some do without a context of their own; else the parent. */
function operationIn(parent: SpanParent): SpanParent {
  for (const each of parent.begun) if (!each.isOpen) parent.begun.delete(each);
  const [only] = parent.begun;
  return parent.begun.size === 1 && only !== undefined ? only : parent;
}

/**
 * The span of a call that is being served. It does not refer to the call: what the call started, such as the watch
 * on a container, keeps the span in memory for as long as that lasts.
 */
class CallSpan implements SpanParent {
  readonly startMs: number;
  readonly parent: RemoteParent | undefined;
  readonly traceId: Uint8Array;
  readonly spanId = newSpanId();
  readonly begun = new Set<SpanParent>();
  readonly traceState: string;
  isOpen = true;

  constructor(call: Call, startMs: number, parent: RemoteParent | undefined) {
    this.startMs = startMs;
    this.parent = parent;
    this.traceId = parent?.traceId ?? newTraceId();
    // Without a valid traceparent, tracestate means nothing.
    this.traceState = parent === undefined ? "" : checkedTracestate(call.metadata("tracestate"));
  }

  childOf(): Uint8Array {
    return this.spanId;
  }
}
