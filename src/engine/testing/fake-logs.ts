import { RuntimeError } from "../../base/errors.ts";
import type { ContainerLogs, LogLine, LogSelection } from "../../core/container/index.ts";

/** Logs in memory. A followed one ends with its container, and nothing is added to it. */
export class FakeLogs implements ContainerLogs {
  readonly byPath = new Map<string, readonly LogLine[]>();
  readonly asked: LogSelection[] = [];
  readonly rotations: string[] = [];

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
