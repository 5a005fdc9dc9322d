import { RuntimeError } from "../../base/errors.ts";
import type { BegunLog, ContainerLogs, LogLine, LogSelection } from "../../core/container/index.ts";
import { Trouble } from "./trouble.ts";

/** Logs in memory. A followed one ends with its container, and nothing is added to it. */
export class FakeLogs implements ContainerLogs {
  readonly byPath = new Map<string, readonly LogLine[]>();
  readonly asked: LogSelection[] = [];
  readonly rotations: string[] = [];
  readonly trouble = new Trouble<"begin">();
  /** The earlier logs that logs were begun with, by path. */
  readonly begun = new Map<string, string>();
  /** The lines that are not records in each earlier log. */
  dropped = 0;

  async *read(
    path: string,
    selection: LogSelection,
    signal: AbortSignal,
  ): AsyncGenerator<readonly LogLine[]> {
    this.asked.push(selection);
    const lines = this.byPath.get(path);
    const { follow } = selection;
    if (follow !== undefined) yield [];
    else if (lines === undefined) {
      throw new RuntimeError("not-found", `read log "${path}": no such file`);
    }
    yield lines ?? [];
    if (follow !== undefined) await abortedOf(AbortSignal.any([follow.ended, signal]));
  }

  rotated(path: string): Promise<void> {
    this.rotations.push(path);
    return Promise.resolve();
  }

  async begin(path: string, from: string, signal: AbortSignal): Promise<BegunLog> {
    await this.trouble.at("begin", signal);
    this.begun.set(path, from);
    const remove = (): Promise<void> => {
      this.begun.delete(path);
      return Promise.resolve();
    };
    return { dropped: this.dropped, remove };
  }

  close(): void {
    this.byPath.clear();
  }
}

function abortedOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
