/**
 * Runs the soak in namespaces of its own: `node test/soak/run.ts [--minutes N]`. Prints samples as they come, then the
 * slopes. The last line is `N passed, N failed, N skipped`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { killRunning, runIsolated } from "../support/isolate.ts";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "60" } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  process.stdout.write(`--minutes must be a positive number, got "${values.minutes}"\n`);
  process.exit(2);
}

const directory = mkdtempSync(path.join(tmpdir(), "davit-soak-"));
const output = path.join(directory, "output");
let shown = 0;

function show(): void {
  if (!existsSync(output)) return;
  const text = readFileSync(output, "utf8");
  process.stdout.write(text.slice(shown));
  shown = text.length;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    killRunning();
    rmSync(directory, { recursive: true, force: true });
    process.exit(130);
  });
}

const timer = setInterval(show, 1_000);
const result = await runIsolated(path.join(import.meta.dirname, "soak.ts"), {
  // Restarts, quiet moments and the last checks take longer on a busy machine.
  timeoutMs: minutes * 120_000 + 900_000,
  strict: false,
  env: { DAVIT_SOAK_MINUTES: String(minutes), DAVIT_SOAK_OUTPUT: output },
});
clearInterval(timer);
show();
rmSync(directory, { recursive: true });
process.stdout.write(result.output);
process.stdout.write(
  `\n${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped\n`,
);
process.exitCode = result.failed > 0 ? 1 : 0;
