import type {
  OperationView,
  PastOperation,
  RunningOperation,
  StageMark,
} from "../../core/operation/index.ts";
import { type AttributeValue, newSpanId, type Span } from "./span.ts";

/** Where new spans belong: below a call or an operation that has not ended. */
export interface SpanParent {
  readonly traceId: Uint8Array;
  readonly traceState: string;
  readonly spanId: Uint8Array;
  /** The operations that began in it, without those that have ended long ago. */
  readonly begun: Set<SpanParent>;
  /** The id that a span which begins now gets as its parent. */
  childOf(): Uint8Array;
  /** False once it has ended. What its timers begin later does not belong to it. */
  isOpen: boolean;
}

/** Stages that mark the end of something. What follows is only a span if it was slow. */
const endings: ReadonlySet<string> = new Set([
  "network-plugin-done",
  "network-added",
  "network-removed",
  "answer",
]);

const slowMs = 5;

/** The span of an operation in progress. Its end makes the spans of its stages from their times. */
export class OperationSpan implements SpanParent {
  readonly traceId: Uint8Array;
  readonly traceState: string;
  isOpen = true;
  readonly spanId = newSpanId();
  readonly begun = new Set<SpanParent>();
  readonly #parentId: Uint8Array;
  /** Until its end: what the operation started may keep this span in memory for long. */
  #operation: RunningOperation | undefined;
  readonly #startMs: number;
  /** The ids of stages that have spans below them, by the number of their mark. */
  readonly #stageIds = new Map<number, Uint8Array>();

  constructor(parent: SpanParent, operation: RunningOperation, startMs: number) {
    this.traceId = parent.traceId;
    this.traceState = parent.traceState;
    this.#parentId = parent.childOf();
    this.#operation = operation;
    this.#startMs = startMs;
  }

  /** Of an operation within this one, for example the pull of a layer: the stage that began it. */
  childOf(): Uint8Array {
    const at = (this.#operation?.marks.length ?? 0) - 1;
    if (at < 0) return this.spanId;
    const known = this.#stageIds.get(at) ?? newSpanId();
    this.#stageIds.set(at, known);
    return known;
  }

  /** The spans of the finished operation, its own first. */
  finished(past: PastOperation, endMs: number): readonly Span[] {
    const { operation, subject, error } = past;
    const { object = subject, failedAt } = this.#operation ?? {};
    this.isOpen = false;
    this.#operation = undefined;
    const own = this.#span({
      spanId: this.spanId,
      parentId: this.#parentId,
      name: spaced(operation),
      startMs: this.#startMs,
      endMs,
      attributes: {
        "davit.operation": operation,
        "davit.subject": subject,
        ...(object === subject ? {} : { "davit.object": object }),
      },
      error,
    });
    // The stage that was current when it failed: later ones belong to the undo.
    const failed = error === undefined ? undefined : failedAt;
    const stages = past.stages.map((_, at) => this.#stage(past, at, failed, endMs));
    return [own, ...stages.filter((stage) => stage !== undefined)];
  }

  #stage(
    past: PastOperation,
    at: number,
    failed: OperationView | undefined,
    endMs: number,
  ): Span | undefined {
    const { stages, error } = past;
    const [mark, next] = [stages[at], stages[at + 1]];
    if (mark === undefined) return undefined;
    const startMs = this.#timeOf(past, mark, endMs);
    const stageEndMs =
      next === undefined ? endMs : Math.max(this.#timeOf(past, next, endMs), startMs);
    const hasFailed = failed !== undefined && failed.stages.length - 1 === at;
    // The mark at the end of a CNI plugin has its name.
    const plugin = next?.detail ?? (hasFailed ? failed.detail : undefined);
    const spanId = this.#stageIds.get(at);
    if (endings.has(mark.stage) && plugin === undefined && !hasFailed && spanId === undefined) {
      if (stageEndMs - startMs < slowMs) return undefined;
    }
    return this.#span({
      spanId: spanId ?? newSpanId(),
      parentId: this.spanId,
      ...(plugin === undefined ? aboutStage(mark.stage) : aboutPlugin(plugin)),
      startMs,
      endMs: stageEndMs,
      error: hasFailed ? error : undefined,
    });
  }

  /** The marks have whole milliseconds, so they may lie before the start of the operation or after its end. */
  #timeOf({ startedMs }: PastOperation, { atMs }: StageMark, endMs: number): number {
    return Math.min(Math.max(startedMs + atMs, this.#startMs), endMs);
  }

  #span(own: {
    readonly spanId: Uint8Array;
    readonly parentId: Uint8Array;
    readonly name: string;
    readonly startMs: number;
    readonly endMs: number;
    readonly attributes: Readonly<Record<string, AttributeValue>>;
    readonly error: string | undefined;
  }): Span {
    const { traceId, traceState } = this;
    return { ...own, traceId, traceState, isParentRemote: false, kind: "internal" };
  }
}

function aboutStage(stage: string): Pick<Span, "name" | "attributes"> {
  return { name: spaced(stage), attributes: { "davit.stage": stage } };
}

function aboutPlugin(plugin: string): Pick<Span, "name" | "attributes"> {
  return {
    name: `network plugin ${plugin}`,
    attributes: { "davit.stage": "network-plugin", "davit.network.plugin": plugin },
  };
}

/** The name of an operation or a stage, as errors and `davit why` write it. */
function spaced(name: string): string {
  return name.replaceAll("-", " ");
}
