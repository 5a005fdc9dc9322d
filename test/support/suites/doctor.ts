/** `davit doctor` as a process, on the configuration of a daemon that a test prepares. */
import assert from "node:assert/strict";
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import type { Server } from "node:net";
import path from "node:path";
import { after, afterEach, before, beforeEach } from "node:test";
import { type Conflist, ScriptedPlugin, testBridge, writeConflist } from "../cni.ts";
import { type ConfigTable, TestDaemon } from "../daemon.ts";
import { endDaemon } from "./pods.ts";

/** The root of the repository. */
export const repo = path.resolve(import.meta.dirname, "../../..");
/** Whether the node forwards packets. */
export const forward = "/proc/sys/net/ipv4/ip_forward";

interface Found {
  readonly id: string;
  readonly severity: string;
  readonly found: string;
  readonly fix?: string;
}

/** The answer of the doctor. */
export interface Outcome {
  readonly code: number | null;
  readonly findings: readonly Found[];
  readonly ids: readonly string[];
  readonly leftOut: readonly string[];
  readonly fixed: readonly string[];
}

/** Runs a command line to its end; the doctor's answer is the JSON that it prints. */
export async function outcomeOf(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Outcome> {
  const child = execFile(program, args, {
    env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...env },
    timeout: 120_000,
  });
  let out = "";
  let err = "";
  child.stdout?.on("data", (text: string) => (out += text));
  child.stderr?.on("data", (text: string) => (err += text));
  const [code] = (await once(child, "close")) as [number | null];
  assert.ok(out.startsWith("{"), `${program} ${args.join(" ")}: ${code ?? ""} ${err}${out}`);
  const report = JSON.parse(out) as Omit<Outcome, "code" | "ids">;
  return { ...report, code, ids: report.findings.map(({ id }) => id) };
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word}'`).join(" ");
}

/** A daemon that does not run until a test starts it. */
export let daemon: TestDaemon;
/** A plugin in one of the configured directories. */
export let plugin: ScriptedPlugin;

/** The arguments of `davit` that run these groups of checks, separated by spaces. */
export function command(only: string, ...more: readonly string[]): readonly string[] {
  const groups = only.split(" ").flatMap((group) => ["--only", group]);
  return ["doctor", "--config", daemon.paths.config, "-o", "json", ...groups, ...more];
}

/** The command itself. */
export const davit = path.join(repo, "bin/davit");
/** Runs these groups of checks. */
export const doctor = (only: string, ...more: readonly string[]): Promise<Outcome> =>
  outcomeOf(davit, command(only, ...more));

/** The same in a mount namespace of its own, which `script` changes first. */
export const doctorAfter = (script: string, only: string): Promise<Outcome> =>
  outcomeOf("unshare", [
    ...["--mount", "--propagation", "private", "sh", "-c"],
    `set -e\n${script}\nexec ${quoted([davit, ...command(only)])}`,
  ]);

/** Makes these plugins the only pod network. */
export function conflist(plugins: Conflist["plugins"], cniVersion = "1.0.0"): void {
  rmSync(daemon.paths.confDir, { recursive: true, force: true });
  writeConflist(daemon.paths.confDir, "10-test.conflist", { cniVersion, name: "odd", plugins });
}

/** Fails if one of these findings is missing. */
export function assertFinds({ ids, findings }: Outcome, ...wanted: readonly string[]): void {
  for (const id of wanted) assert.ok(ids.includes(id), `no ${id} in ${JSON.stringify(findings)}`);
}

/** A socket file without a server, as a killed daemon leaves it. */
export async function leaveSocket(file: string): Promise<void> {
  const script = `require("net").createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 9))`;
  const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
  await once(child, "exit");
  assert.ok(existsSync(file));
}

/** Lets a server accept connections on a socket or port. */
export function listen(server: Server, at: string | number): Promise<unknown> {
  server.listen(at);
  return once(server, "listening");
}

/** Writes the configuration of the daemon. */
export function configure(changes: ConfigTable): void {
  const bins = { cni: { bin_dirs: [plugin.binDir, "/usr/lib/cni"] } };
  daemon.writeConfig({ ...bins, ...changes });
}

/** Prepares the host and a daemon before each test of a file, and ends the daemon after it. */
export function prepareDaemons(): void {
  before(() => {
    writeFileSync(forward, "1");
  });
  beforeEach(() => {
    daemon = TestDaemon.prepare({ config: {} });
    plugin = new ScriptedPlugin(daemon.paths.directory);
    mkdirSync(daemon.paths.root);
    mkdirSync(daemon.paths.state);
    configure({});
  });
  afterEach(async () => {
    if (existsSync(daemon.paths.socket) && daemon.lines.length > 0) await endDaemon(daemon);
    else await daemon[Symbol.asyncDispose]();
  });
  after(() => {
    spawnSync("ip", ["link", "delete", testBridge], { stdio: "ignore" });
  });
}
