import { type ErrorKind, kindOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, maxTimerMs } from "../../base/time.ts";
import {
  OperationHistory,
  type PastOperation,
  type PodName,
  type StageMark,
  type Transfer,
} from "./history.ts";
import type { CrashPoint, OperationName, Stage } from "./stages.ts";
import type { StepObserver } from "./steps.ts";

/**
 * A request as the layers below the verbs see it: its deadline, its log, and its stages.
 */
export interface Operation {
  /** Aborted at the deadline of the operation, or when its object is stopped or removed. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /**
   * Enters a stage. Rejects when the operation was aborted, so that nothing more is built for an object
   * that is being torn down. `detail` names the item of a stage that is entered several times.
   */
  enter(stage: Stage, detail?: string): Promise<void>;
  /**
   * Sets the item that a stage is working on, for example the network plugin that is running. The views
   * of the operation show it until the next stage begins. The history does not.
   */
  workOn(stage: Stage, detail: string): void;
  /**
   * Says that the operation fails in an earlier stage, if later ones were entered before that was known. Errors and
   * metrics name that stage.
   */
  failedIn(stage: Stage): void;
  /** Enters a stage of the undo. It does not reject when the operation was aborted. */
  undoing(stage: Stage): Promise<void>;
}

/** How long an injected fault can delay a stage of the undo. Milliseconds. */
const undoMs = 1_000;

/** Injects faults into operations, for tests. */
export interface Faults {
  at(point: CrashPoint, signal: AbortSignal): Promise<void> | undefined;
}

/** No faults, as outside tests. */
export const noFaults: Faults = { at: () => undefined };

/** An operation in progress, as the verbose Status shows it. */
export interface OperationView {
  readonly operation: OperationName;
  readonly subject: string;
  readonly stage: string;
  /** The item that the stage is working on, for example the network plugin that is running. */
  readonly detail?: string;
  /** The time since the operation began, in milliseconds. */
  readonly ageMs: number;
  /** The time since the stage, or its current detail, began, in milliseconds. */
  readonly stageAgeMs: number;
  /** The stages entered so far. */
  readonly stages: readonly StageMark[];
  /** Of pulls of images: the pods that they are for. */
  readonly pods?: readonly PodName[];
}

/** Observes operations as they begin and end. Its functions must not throw. */
export interface OperationObserver {
  /** Called in the asynchronous context of the call that begins the operation. */
  readonly began?: (operation: RunningOperation) => void;
  /** Calls the work of an operation, for example in an asynchronous context of its own, and returns its result. */
  readonly within?: <T>(operation: RunningOperation, work: () => Promise<T>) => Promise<T>;
  readonly ended?: (operation: RunningOperation, past: PastOperation) => void;
  readonly step?: StepObserver;
}

interface Options {
  readonly name: OperationName;
  readonly subject: string;
  /** The id of the object in the history, if it differs from the subject. */
  readonly object?: string;
  readonly timeoutMs: number;
  readonly log: Logger;
  /** The pods that a pull is for. The list may grow until the pull ends. */
  readonly pods?: readonly PodName[];
}

/** An operation in progress: the {@link Operation} that lower layers see, and the handle of its verb. */
export class RunningOperation implements Operation {
  readonly name: OperationName;
  readonly subject: string;
  /** The id of its object in the history; the subject if it has no other. */
  readonly object: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly marks: StageMark[] = [];
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #faults: Faults;
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #pods: readonly PodName[];
  /** The last workOn(), until the next stage begins. */
  #workingOn: StageMark | undefined;
  #error: RuntimeError | undefined;
  #transfer: Transfer | undefined;
  readonly #onEnd: (operation: RunningOperation) => void;
  /** The view when it was aborted or its undo began. Errors name this stage, not one of the undo. */
  #failedAt: OperationView | undefined;

  constructor(
    options: Options,
    deps: {
      readonly faults: Faults;
      readonly clock: Clock;
      readonly onEnd: (operation: RunningOperation) => void;
    },
  ) {
    this.name = options.name;
    this.subject = options.subject;
    this.object = options.object ?? options.subject;
    this.log = options.log;
    this.#pods = options.pods ?? [];
    this.#faults = deps.faults;
    this.#clock = deps.clock;
    this.#onEnd = deps.onEnd;
    this.#startedMs = deps.clock.nowMs();
    this.signal = this.#controller.signal;
    this.#timer = setTimeout(
      () => {
        this.abort(
          new RuntimeError(
            "deadline-exceeded",
            `took longer than ${String(options.timeoutMs / 1000)} s`,
          ),
        );
      },
      Math.min(options.timeoutMs, maxTimerMs),
    );
    this.#timer.unref();
  }

  async enter(stage: Stage, detail?: string): Promise<void> {
    this.signal.throwIfAborted();
    const atMs = this.#ageMs();
    this.#workingOn = undefined;
    this.#mark(detail === undefined ? { stage, atMs } : { stage, atMs, detail });
    await this.#faults.at(`${this.name}/${stage}` as CrashPoint, this.signal);
    this.signal.throwIfAborted();
  }

  workOn(stage: Stage, detail: string): void {
    this.#workingOn = { stage, detail, atMs: this.#ageMs() };
  }

  failedIn(stage: Stage): void {
    const at = this.marks.findLastIndex((mark) => mark.stage === stage);
    const view = this.view();
    const stageAgeMs = view.ageMs - (this.marks[at]?.atMs ?? view.ageMs);
    this.#failedAt ??= { ...view, stage, stageAgeMs, stages: this.marks.slice(0, at + 1) };
  }

  async undoing(stage: Stage): Promise<void> {
    this.#failedAt ??= this.view();
    this.#workingOn = undefined;
    this.#mark({ stage, atMs: this.#ageMs() });
    const patience = new AbortController();
    const timer = setTimeout(() => {
      patience.abort(new RuntimeError("deadline-exceeded", `took longer than ${undoMs / 1000} s`));
    }, undoMs);
    try {
      await this.#faults.at(`${this.name}/${stage}` as CrashPoint, patience.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Aborts the signal. The operation ends at its next stage or wait. */
  abort(reason: RuntimeError): void {
    if (this.signal.aborted) return;
    this.#failedAt ??= this.view();
    this.#controller.abort(reason);
  }

  /** Aborts the operation when `signal` is aborted, until the result is disposed of. */
  follow(signal: AbortSignal): Disposable {
    const onAbort = (): void => {
      const { reason } = signal as { readonly reason: unknown };
      this.abort(reason instanceof RuntimeError ? reason : wrap("wait for the answer", reason));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    return {
      [Symbol.dispose]: () => {
        signal.removeEventListener("abort", onAbort);
      },
    };
  }

  #mark(mark: StageMark): void {
    this.marks.push(mark);
    this.log.debug("stage", { operation: this.name, subject: this.subject, ...mark });
  }

  /** The current stage. */
  get stage(): string {
    return (this.#workingOn ?? this.marks.at(-1))?.stage ?? "begin";
  }

  /** The view at the moment when it failed or was aborted: later stages belong to the undo. */
  get failedAt(): OperationView | undefined {
    return this.#failedAt;
  }

  view(): OperationView {
    const ageMs = this.#ageMs();
    const detail = this.#workingOn?.detail;
    return {
      operation: this.name,
      subject: this.subject,
      stage: this.stage,
      ...(detail === undefined ? {} : { detail }),
      ageMs,
      stageAgeMs: ageMs - ((this.#workingOn ?? this.marks.at(-1))?.atMs ?? 0),
      stages: [...this.marks],
      ...this.#podNames(),
    };
  }

  #ageMs(): number {
    return this.#clock.nowMs() - this.#startedMs;
  }

  /** Wraps `error` with the operation, its subject and the stage in which it failed. */
  explain(error: unknown): RuntimeError {
    // Node.js rejects an aborted wait with an AbortError that does not have the reason.
    const isEcho = this.signal.aborted && ["unknown", "canceled"].includes(kindOf(error));
    const cause: unknown = isEcho ? this.signal.reason : error;
    this.#failedAt ??= this.view();
    const { stage, stageAgeMs } = this.#failedAt;
    const where = `stage ${stage}, ${String(stageAgeMs)} ms`;
    const explained = wrap(`${this.name.replaceAll("-", " ")} "${this.subject}" (${where})`, cause);
    this.#error = explained;
    return explained;
  }

  /** The stage in which it failed, and the kind of its error. Undefined until explain() was called. */
  get failure(): { readonly stage: string; readonly kind: ErrorKind } | undefined {
    if (this.#error === undefined) return undefined;
    return { stage: this.#failedAt?.stage ?? this.stage, kind: this.#error.kind };
  }

  /** Notes for the history what the pull of a layer has received until now. */
  received(image: string, bytes: number): void {
    this.#transfer = { image, bytes, tookMs: this.#ageMs() };
  }

  /** The finished operation, as the history keeps it. It failed if explain() was called. */
  past(): PastOperation {
    return {
      operation: this.name,
      subject: this.subject,
      startedMs: this.#startedMs,
      tookMs: this.#ageMs(),
      stages: this.marks,
      ...(this.#error === undefined ? {} : { error: this.#error.message }),
      ...(this.#transfer === undefined ? {} : { transfer: this.#transfer }),
      ...this.#podNames(),
    };
  }

  #podNames(): { readonly pods?: readonly PodName[] } {
    return this.#pods.length === 0 ? {} : { pods: [...this.#pods] };
  }

  /** Ends the operation. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#onEnd(this);
  }
}

/** The operations of this daemon. */
export class Operations {
  /** The finished operations. */
  readonly history = new OperationHistory();
  readonly #running = new Set<RunningOperation>();
  readonly #observers: OperationObserver[] = [];
  readonly #faults: Faults;
  readonly #clock: Clock;
  /** Set when the daemon exits: operations that begin afterwards are aborted at once. */
  #over: RuntimeError | undefined;

  constructor(deps: { readonly faults: Faults; readonly clock: Clock }) {
    this.#faults = deps.faults;
    this.#clock = deps.clock;
  }

  /** True since abortAll(): an operation that fails from then on says nothing about its object. */
  get isOver(): boolean {
    return this.#over !== undefined;
  }

  /** Calls `observer` for operations that begin or end from now on. */
  observe(observer: OperationObserver): void {
    this.#observers.push(observer);
  }

  /** Begins a step of the operation in whose asynchronous context it is called. */
  readonly step: StepObserver = (step) => {
    for (const observer of this.#observers) {
      const end = observer.step?.(step);
      if (end !== undefined) return end;
    }
    return undefined;
  };

  /** Begins an operation. Dispose of it at its end (`using`). It is aborted after `timeoutMs`. */
  begin(options: Options): RunningOperation {
    const operation = new RunningOperation(options, {
      faults: this.#faults,
      clock: this.#clock,
      onEnd: (ended) => {
        this.#running.delete(ended);
        const past = ended.past();
        this.history.add(ended.object, past);
        for (const observer of this.#observers) observer.ended?.(ended, past);
      },
    });
    this.#running.add(operation);
    for (const observer of this.#observers) observer.began?.(operation);
    if (this.#over !== undefined) operation.abort(this.#over);
    return operation;
  }

  /**
   * Runs `work` as an operation and ends the operation. An error of `work` is wrapped with the
   * operation, its subject and its stage.
   */
  async run<T>(options: Options, work: (operation: RunningOperation) => Promise<T>): Promise<T> {
    using operation = this.begin(options);
    try {
      return await this.#within(operation, () => work(operation));
    } catch (error) {
      throw operation.explain(error);
    }
  }

  #within<T>(operation: RunningOperation, work: () => Promise<T>): Promise<T> {
    const inside = this.#observers.reduce(
      (inner, { within }) => (within === undefined ? inner : () => within(operation, inner)),
      work,
    );
    return inside();
  }

  /** Aborts all operations, including those that begin later, when the daemon exits. */
  abortAll(reason: RuntimeError): void {
    this.#over = reason;
    for (const operation of this.#running) operation.abort(reason);
  }

  /** All operations in progress, oldest first. */
  views(): readonly OperationView[] {
    return [...this.#running].map((operation) => operation.view());
  }
}
