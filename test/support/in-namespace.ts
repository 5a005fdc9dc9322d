/**
 * Runs one test file inside the namespaces that `enter.sh` prepared, and compares before and after to find what
 * the file left there: processes, mounts, links, rules, files in TMPDIR.
 * Called by `isolate.ts`; the exit code is that of `node --test`, or `leftSomething` when only something was left.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { compileCache } from "./compile-cache.ts";
import { leftSomething } from "./isolate.ts";
import {
  describeLeaks,
  findLeaks,
  type LeakCheckOptions,
  portmapKeeps,
  takeSnapshot,
} from "./leaks.ts";
import { hasSystemdDriver } from "./systemd-driver.ts";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("run a test file: want its path as argument");

const run = process.env["DAVIT_TEST_RUN"] ?? "";
const options: LeakCheckOptions = {
  processes: hasSystemdDriver ? { run } : "namespace",
  settleMs: Number(process.env["DAVIT_TEST_SETTLE_MS"] ?? 2000),
  roots: [tmpdir()],
  allow: {
    // `ip netns add` makes its directory of names a mount at the first use, by design forever.
    mount: [/^\/run\/netns \(tmpfs /],
    ...portmapKeeps,
  },
};

const before = await takeSnapshot(options);
const reporter = path.join(import.meta.dirname, "reporter.ts");
const args = [...compileCache(), "--test", `--test-reporter=${reporter}`, file];
const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
const [code] = (await once(child, "exit")) as [number | null];

const leaks = await findLeaks(before, options);
if (leaks.length > 0) {
  process.stdout.write(
    `        left behind in the file's namespaces:\n${indent(describeLeaks(leaks))}\n`,
  );
}
process.exitCode = code !== 0 ? (code ?? 1) : leaks.length > 0 ? leftSomething : 0;

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, "          ");
}
