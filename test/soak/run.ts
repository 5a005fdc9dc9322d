/**
 * Runs the soak in namespaces of its own: `node test/soak/run.ts [--minutes N | --pods N]`. Prints samples as they come,
 * then the slopes. The last line is `N passed, N failed, N skipped`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { isStrictHost } from "../support/belongs.ts";
import { killRunning, runIsolated } from "../support/isolate.ts";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "60" }, pods: { type: "string" } },
});
for (const [name, value] of Object.entries(values)) {
  if (Number(value) > 0) continue;
  process.stdout.write(`--${name} must be a positive number, got "${value}"\n`);
  process.exit(2);
}
const minutes = Number(values.minutes);
/** A slow or busy machine runs so many pods in a minute at least; a free one runs 300. */
const podsPerMinute = 20;
const mostMinutes = values.pods === undefined ? minutes : Number(values.pods) / podsPerMinute;

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
  timeoutMs: mostMinutes * 120_000 + 900_000,
  strict: isStrictHost(),
  env: {
    DAVIT_SOAK_MINUTES: String(minutes),
    DAVIT_SOAK_OUTPUT: output,
    ...(values.pods !== undefined && { DAVIT_SOAK_PODS: values.pods }),
  },
});
clearInterval(timer);
show();
rmSync(directory, { recursive: true });
process.stdout.write(result.output);
process.stdout.write(
  `\n${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped\n`,
);
process.exitCode = result.failed > 0 ? 1 : 0;
