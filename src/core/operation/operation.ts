import { kindOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type Clock, maxTimerMs } from "../../base/time.ts";
import { OperationHistory, type StageMark } from "./history.ts";
import type { CrashPoint, OperationName, Stage } from "./stages.ts";

/**
 * What a layer below the verbs sees of the request that it works for: when to give up, where to
 * log, and whom to tell which stage begins.
 */
export interface Operation {
  /** Aborted at the operation's deadline or when a Stop or Remove takes the object over. */
  readonly signal: AbortSignal;
  readonly log: Logger;
  /**
   * Says that a stage begins. Rejects when the operation was aborted, so that nothing more is
   * built for an object that is being torn down. `detail` says what of several it is done to or by,
   * for a stage that is entered more than once.
   */
  enter(stage: Stage, detail?: string): Promise<void>;
  /**
   * Says which of several a stage is at, as the network plugin that runs now. Only for whoever looks
   * at the operation meanwhile: no mark is made, and it holds until the next stage begins.
   */
  workOn(stage: Stage, detail: string): void;
  /** Says that a stage of taking back begins, which goes on in spite of an abort. */
  undoing(stage: Stage): Promise<void>;
}

/** How long a fault can hold a stage of taking back. Milliseconds. */
const undoMs = 1_000;

/** Makes an operation fail on purpose. The product's one does nothing. */
export interface Faults {
  at(point: CrashPoint, signal: AbortSignal): Promise<void> | undefined;
}

/** No faults: what every daemon runs with outside tests. */
export const noFaults: Faults = { at: () => undefined };

/** One running operation, as `Status` shows it. */
export interface OperationView {
  readonly operation: OperationName;
  readonly subject: string;
  readonly stage: string;
  /** Which of several the stage is at, as the name of the network plugin that runs. */
  readonly detail?: string;
  /** How long the operation runs already. Milliseconds. */
  readonly ageMs: number;
  /** How long it is in this stage, or at this detail of it. Milliseconds. */
  readonly stageAgeMs: number;
  /** The stages that it has entered so far. */
  readonly stages: readonly StageMark[];
}

interface Options {
  readonly name: OperationName;
  readonly subject: string;
  /** The id under which its history is kept, where the subject is not one. */
  readonly object?: string;
  readonly timeoutMs: number;
  readonly log: Logger;
}

/** An operation under way: the {@link Operation} of the lower layers, and its owner's handle. */
export class RunningOperation implements Operation {
  readonly name: OperationName;
  readonly subject: string;
  readonly signal: AbortSignal;
  readonly log: Logger;
  readonly marks: StageMark[] = [];
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #faults: Faults;
  readonly #clock: Clock;
  readonly #object: string;
  readonly #startedMs: number;
  /** What workOn() said last, unless a stage began after it. */
  #workingOn: StageMark | undefined;
  #error: string | undefined;
  readonly #onEnd: (operation: RunningOperation) => void;
  /** Where it was when it was aborted or began to take back: what comes then is not what failed. */
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
    this.#object = options.object ?? options.subject;
    this.log = options.log;
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
    this.marks.push(detail === undefined ? { stage, atMs } : { stage, atMs, detail });
    await this.#faults.at(`${this.name}/${stage}` as CrashPoint, this.signal);
    this.signal.throwIfAborted();
  }

  workOn(stage: Stage, detail: string): void {
    this.#workingOn = { stage, detail, atMs: this.#ageMs() };
  }

  async undoing(stage: Stage): Promise<void> {
    this.#failedAt ??= this.view();
    this.#workingOn = undefined;
    this.marks.push({ stage, atMs: this.#ageMs() });
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

  /** Makes the operation stop at its next stage, and its waits end now. */
  abort(reason: RuntimeError): void {
    if (this.signal.aborted) return;
    this.#failedAt ??= this.view();
    this.#controller.abort(reason);
  }

  /** Aborts the operation when `signal` is, a caller's say, until the result is disposed of. */
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

  /** The stage it is in. */
  get stage(): string {
    return (this.#workingOn ?? this.marks.at(-1))?.stage ?? "begin";
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
    };
  }

  #ageMs(): number {
    return this.#clock.nowMs() - this.#startedMs;
  }

  /** `error` with the operation, its subject and the stage that it failed in. */
  explain(error: unknown): RuntimeError {
    // Node's own calls reject an aborted wait with an AbortError, whatever the reason was.
    const isEcho = this.signal.aborted && ["unknown", "canceled"].includes(kindOf(error));
    const cause: unknown = isEcho ? this.signal.reason : error;
    const { stage, stageAgeMs } = this.#failedAt ?? this.view();
    const where = `stage ${stage}, ${String(stageAgeMs)} ms`;
    const explained = wrap(`${this.name.replaceAll("-", " ")} "${this.subject}" (${where})`, cause);
    this.#error = explained.message;
    return explained;
  }

  /** Tells the history what became of it; a failure is one that was explained. */
  tell(history: OperationHistory): void {
    history.add(this.#object, {
      operation: this.name,
      subject: this.subject,
      startedMs: this.#startedMs,
      tookMs: this.#ageMs(),
      stages: this.marks,
      ...(this.#error === undefined ? {} : { error: this.#error }),
    });
  }

  /** The operation is over, one way or the other. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#onEnd(this);
  }
}

/** The operations under way in this daemon. */
export class Operations {
  /** Those that are over. */
  readonly history = new OperationHistory();
  readonly #running = new Set<RunningOperation>();
  readonly #faults: Faults;
  readonly #clock: Clock;
  /** Set at the daemon's end: what would begin then must not keep it waiting. */
  #over: RuntimeError | undefined;

  constructor(deps: { readonly faults: Faults; readonly clock: Clock }) {
    this.#faults = deps.faults;
    this.#clock = deps.clock;
  }

  /** Begins an operation; dispose of it at its end (`using`). `timeoutMs` is its own deadline. */
  begin(options: Options): RunningOperation {
    const operation = new RunningOperation(options, {
      faults: this.#faults,
      clock: this.#clock,
      onEnd: (ended) => {
        this.#running.delete(ended);
        ended.tell(this.history);
      },
    });
    this.#running.add(operation);
    if (this.#over !== undefined) operation.abort(this.#over);
    return operation;
  }

  /**
   * Does `work` as an operation with stages: ended whatever happens, a failure explained by what
   * was being done, to what, and at which stage.
   */
  async run<T>(options: Options, work: (operation: RunningOperation) => Promise<T>): Promise<T> {
    using operation = this.begin(options);
    try {
      return await work(operation);
    } catch (error) {
      throw operation.explain(error);
    }
  }

  /** Makes every operation stop at its next stage, also those that begin later: the daemon's end. */
  abortAll(reason: RuntimeError): void {
    this.#over = reason;
    for (const operation of this.#running) operation.abort(reason);
  }

  /** All operations under way, oldest first. */
  views(): readonly OperationView[] {
    return [...this.#running].map((operation) => operation.view());
  }
}
