import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { listMounts } from "../../../linux/mount/index.ts";
import { SIGTERM } from "../../../linux/process/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { LogTarget, MonitorName } from "../container-monitor.ts";
import type { OciRuntime } from "../index.ts";
import { StateLayout } from "../state-layout.ts";
import type { TestHost } from "./sandbox.ts";

/** Counts until SIGTERM, and then prints "end". */
export const counting = [
  "sh",
  "-c",
  "trap 'echo end; exit' TERM; n=0; while :; do n=$((n+1)); echo $n; [ $((n % 20)) = 0 ] && sleep 0.001; done",
];

/** The name of a new log until it is in use. */
export const hiddenLog = ".0.log.new";

/** A container that counts into a log in a directory of its own. */
interface Counter {
  readonly id: string;
  readonly directory: string;
  readonly logPath: string;
  readonly target: LogTarget;
}

/** Waits until a log has something in it. */
export async function written(file: string): Promise<void> {
  await until(`something in ${file}`, () => existsSync(file) && readFileSync(file).length > 0);
}

/** The mounts in the directories of a container. */
export async function leftMounts(id: string): Promise<readonly string[]> {
  const mounts = await listMounts();
  return mounts.map(({ mountPoint }) => mountPoint).filter((path) => path.includes(id));
}

/** Containers that count, for tests of logs that continue in new files. */
export class Counters {
  readonly #host: TestHost;
  readonly #runtime: OciRuntime;
  readonly #monitor: MonitorName;
  #made = 0;

  constructor(host: TestHost, runtime: OciRuntime, monitor: MonitorName) {
    this.#host = host;
    this.#runtime = runtime;
    this.#monitor = monitor;
  }

  /** Runs a counter that has counted during `use`, and checks that nothing of it is left. */
  async run(use: (counter: Counter) => Promise<void>): Promise<void> {
    const directory = join(this.#host.logs, String(this.#made++));
    const logPath = join(directory, "0.log");
    const { id, monitor } = await this.#host.start(this.#runtime, { args: counting, logPath });
    const paths = new StateLayout(this.#host.state);
    const target = { id, paths, monitorPid: monitor?.pid ?? 0, logPath, linkedRoots: [] };
    try {
      await written(logPath);
      await use({ id, directory, logPath, target });
    } finally {
      await this.#runtime.remove(id);
      this.#host.assertGone(id);
      assert.deepEqual(await leftMounts(id), []);
    }
  }

  /** Ends the container and checks that these files contain each line once, in order. davit-monitor writes whole ones. */
  async assertWhole(
    id: string,
    files: readonly string[],
    from: Pick<OciRuntime, "kill" | "wait"> = this.#runtime,
  ): Promise<void> {
    await from.kill(id, SIGTERM);
    await from.wait(id, AbortSignal.timeout(20_000));
    const records = files.flatMap((file) => this.#host.log(id, file));
    const areLines = records.every(([, tag]) => tag === "F");
    assert.ok(areLines || this.#monitor === "conmon", "a record for each line");
    const text = records.map(([, tag, part]) => `${part}${tag === "F" ? "\n" : ""}`).join("");
    const lines = text.replaceAll("\r", "").trimEnd().split("\n");
    assert.deepEqual(lines, [...lines.slice(0, -1).map((_, n) => String(n + 1)), "end"]);
  }
}
