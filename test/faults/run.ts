/**
 * Runs the full walk over all crash points: `node test/faults/run.ts [FILTER...]`. Each file of
 * this directory gets namespaces of its own, as integration tests do, and two run at once.
 */
import { globSync } from "node:fs";
import path from "node:path";
import { killRunning, runIsolated } from "../support/isolate.ts";

const parallel = 2;
const timeoutMs = 3_600_000;

const filters = process.argv.slice(2);
const files = globSync(path.join(import.meta.dirname, "*.faults.ts"))
  .filter((file) => filters.length === 0 || filters.some((filter) => file.includes(filter)))
  .sort();
const total = { passed: 0, failed: 0, skipped: 0 };

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killRunning();
    process.exit(130);
  });
}

if (files.length === 0) {
  process.stdout.write(`no file of the walk has "${filters.join('" or "')}" in its path\n`);
  total.failed = 1;
}
const queue = [...files];
await Promise.all(Array.from({ length: parallel }, worker));
const { passed, failed, skipped } = total;
process.stdout.write(`\n${passed} passed, ${failed} failed, ${skipped} skipped\n`);
process.exitCode = failed > 0 ? 1 : 0;

async function worker(): Promise<void> {
  for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
    const result = await runIsolated(file, { timeoutMs, strict: false });
    process.stdout.write(result.output);
    total.passed += result.passed;
    total.failed += result.failed;
    total.skipped += result.skipped;
  }
}
