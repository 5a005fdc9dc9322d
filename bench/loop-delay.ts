/**
 * Loaded into davit by --import: at each SIGUSR2 it writes the p99 of the event loop's delay since
 * the last one, in milliseconds, to the file that DAVIT_BENCH_LOOP_DELAY names.
 */
import { renameSync, writeFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

const file = process.env["DAVIT_BENCH_LOOP_DELAY"];
const resolutionMs = 1;

if (file !== undefined) {
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  process.on("SIGUSR2", () => {
    const p99Ms = Math.max(0, histogram.percentile(99) / 1e6 - resolutionMs);
    histogram.reset();
    writeFileSync(`${file}.new`, String(p99Ms));
    renameSync(`${file}.new`, file);
  });
}
