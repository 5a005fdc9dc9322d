/** Measures the event loop of a davit. */
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "./row.ts";

/**
 * Runs davit with loop-delay.ts inside it, and as before afterwards. `loopDelayMs` answers with the
 * p99 of the event loop's delay since it was called last.
 */
export async function watchedDavit(
  bench: Bench,
  work: (loopDelayMs: () => Promise<number>) => Promise<void>,
): Promise<void> {
  const { server } = bench.davit;
  const file = `/run/${server.name}-loop-delay`;
  await server.stop();
  await server.start({
    NODE_OPTIONS: `--import=${path.join(import.meta.dirname, "./loop-delay.ts")}`,
    DAVIT_BENCH_LOOP_DELAY: file,
  });
  await work(async () => {
    server.signal("SIGUSR2");
    for (let wait = 0; wait < 500; wait++) {
      const text = await readFile(file, "utf8").catch(() => "");
      if (text !== "") {
        await rm(file);
        return Number(text);
      }
      await sleep(10);
    }
    throw new Error("loop-delay.ts does not answer");
  });
  await server.stop();
  await server.start();
}
