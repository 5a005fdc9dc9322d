import { messageOf } from "../../base/errors.ts";
import type { Rollback } from "../../base/rollback.ts";
import type { Call } from "../command-line/command.ts";
import type { PodManifest } from "../../manifest/index.ts";
import { formatDuration } from "../output/figures.ts";
import { type LiveLines, spinnerAt } from "../output/live-lines.ts";
import { printableLines } from "../output/printable.ts";
import { formatTotal } from "../output/pull-lines.ts";
import type { PullProgress } from "./pull-progress.ts";
import {
  earlyFailures,
  podRollback,
  type ProgressReport,
  runPod,
  type RunContext,
  type RunningPod,
  waitUntilRunning,
} from "./run-pod.ts";

/** Where the progress of a pod is shown. */
interface PodRunOutput {
  readonly lines: LiveLines;
  readonly watch: PullProgress | undefined;
  readonly call: Call;
  /** The caller follows the containers itself: only a failure is shown. */
  readonly foreground: boolean;
}

/** One of the pods of davit run: its rollback, and its line in the terminal. */
export class PodRun {
  /** A container has failed early, which was reported. */
  hasFailed = false;
  readonly #pod: PodManifest;
  readonly #output: PodRunOutput;
  readonly #undo: Rollback;
  readonly #report: ProgressReport;
  #step = "waiting";
  #image: string | undefined;
  #isUndone = true;

  constructor(pod: PodManifest, output: PodRunOutput) {
    this.#pod = pod;
    this.#output = output;
    const { lines, call } = output;
    this.#report = {
      step: (text, image) => {
        this.#step = text;
        this.#image = image;
      },
      warn: (text) => {
        this.#isUndone = false;
        lines.print(`${call.terminal.errStyle.yellow("!")} ${printableLines(text)}`);
      },
      note: (text) => {
        if (!lines.live) this.#print(text);
      },
      howToLeave: "press Ctrl-C again to leave it",
    };
    this.#undo = podRollback(this.#report);
  }

  /** NAMESPACE/NAME of the pod. */
  get name(): string {
    return `${this.#pod.namespace}/${this.#pod.name}`;
  }

  /** Runs the pod. Its rollback stays available, since another pod may fail later. */
  async run(context: RunContext): Promise<RunningPod> {
    const { lines, watch, call } = this.#output;
    const style = call.terminal.errStyle;
    const startedMs = performance.now();
    using _line = lines.add((now) => {
      const figures = this.#image === undefined ? "" : formatTotal(watch?.layersOf(this.#image));
      const time = style.dim(formatDuration(now - startedMs));
      return [`${style.dim(spinnerAt(now))} ${this.name}  ${this.#step}  ${figures}  ${time}`];
    });
    let took = "";
    const measure = (): void => {
      took = style.dim(formatDuration(performance.now() - startedMs));
    };
    try {
      const running = await runPod(context, this.#pod, this.#undo, this.#report);
      measure();
      if (this.#output.foreground) return running;
      if (call.options.has("wait")) {
        await waitUntilRunning(context, running, this.#report);
        measure();
        this.#print(`${style.green("\u2713")} ${this.name}  ${took}`);
      } else {
        this.#printResult(await earlyFailures(context, running, this.#report), took);
      }
      return running;
    } catch (error) {
      measure();
      if (!context.signal.aborted) {
        this.#print(`${style.red("\u2717")} ${this.name}  ${this.#step}  ${took}`);
      }
      throw error;
    }
  }

  /** Removes everything that was created. Returns false if something remains, which was reported. */
  async undo(): Promise<boolean> {
    this.#report.step("cleaning up");
    const { lines, call } = this.#output;
    const { dim } = call.terminal.errStyle;
    using _line = lines.add((now) => [`${dim(spinnerAt(now))} ${this.name}  ${this.#step}`]);
    try {
      await this.#undo[Symbol.asyncDispose]();
    } catch (error) {
      this.#report.warn(messageOf(error));
    }
    return this.#isUndone;
  }

  #printResult(failures: readonly string[], took: string): void {
    const { lines, call } = this.#output;
    const style = call.terminal.errStyle;
    this.hasFailed = failures.length > 0;
    const mark = this.hasFailed ? style.red("\u2717") : style.green("\u2713");
    this.#print(`${mark} ${this.name}  ${took}`);
    for (const text of failures) lines.print(`${style.red("davit:")} ${printableLines(text)}`);
  }

  #print(text: string): void {
    const { lines, call } = this.#output;
    if (!call.options.has("quiet")) lines.print(text);
  }
}
