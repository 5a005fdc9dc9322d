/** A trace of the calls of a daemon and its children that wait for the disk, recorded with strace. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../src/linux/testing/leaks.ts";

const syncCalls = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

/** For the `skip` of a test: false if strace is installed. */
export const withoutStrace =
  spawnSync("strace", ["--version"]).status === 0 ? false : "strace is not installed";

/** A sync call that strace saw: `1234 fdatasync(21</x/davit.db-wal>) = 0`. */
interface SyncCall {
  readonly thread: number;
  readonly text: string;
}

/** The trace of one daemon, from its start on. */
export class SyncTrace {
  readonly #file: string;
  #from = 0;

  /** `directory`: where strace writes. */
  constructor(directory: string) {
    this.#file = path.join(directory, "sync-calls");
  }

  /**
   * For DaemonOptions.entry: the daemon as a child of ours, with its own pid, and strace as a
   * stranger beside it (-D). Only the traced calls stop it (--seccomp-bpf). Without strace, as usual.
   */
  get entry(): readonly string[] {
    const davit = path.resolve(import.meta.dirname, "../../bin/davit");
    const own = process.env["DAVIT_TEST_ENTRY"] ?? davit;
    if (withoutStrace !== false) return [own];
    const flags = ["-D", "-f", "--seccomp-bpf", "-y", "-e", `trace=${syncCalls.join(",")}`];
    return ["strace", ...flags, "-o", this.#file, own];
  }

  /** Ignores earlier calls: the layers of a pull are synced after it. `root`: that of the daemon. */
  async begin(root: string): Promise<void> {
    await until(
      "the layers of the pull are on the disk",
      () => globSync("layers/*/unsynced", { cwd: root }).length === 0,
    );
    // The last call follows the removal of the last mark.
    await sleep(500);
    this.#from = this.#calls().length;
  }

  /**
   * Fails if a call other than a checkpoint of the database waited for the disk. Also fails if there was no
   * checkpoint, because the trace has recorded nothing then. The daemon must run.
   */
  assertOnlyCheckpoints(daemonPid: number): void {
    const calls = this.#calls().slice(this.#from);
    const threads = new Set(readdirSync(`/proc/${daemonPid}/task`).map(Number));
    threads.delete(daemonPid);
    const isCheckpoint = ({ thread, text }: SyncCall): boolean =>
      threads.has(thread) && /^fdatasync\(\d+<[^>]*\/davit\.db(-wal)?>/.test(text);
    assert.ok(calls.some(isCheckpoint), `no checkpoint among ${calls.length} calls`);
    const others = calls.filter((call) => !isCheckpoint(call));
    assert.deepEqual(others, [], `calls that sync, beside the checkpoints' (main: ${daemonPid})`);
  }

  #calls(): readonly SyncCall[] {
    const call = new RegExp(`^(\\d+)\\s+((?:${syncCalls.join("|")})\\(.*)$`);
    return readFileSync(this.#file, "utf8")
      .split("\n")
      .flatMap((line) => {
        const [, thread, text] = call.exec(line) ?? [];
        return thread === undefined || text === undefined ? [] : [{ thread: Number(thread), text }];
      });
  }
}
