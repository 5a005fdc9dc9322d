/** Helpers for the suites of pod sandboxes: daemons that have recovered, and checks from outside of them. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  type PodSandboxConfig,
  type PodSandboxConfigSchema,
  PodSandboxState,
  type PodSandboxStatus,
  UserNamespaceSchema,
} from "../../../src/gen/runtime/v1/api_pb.ts";
import { GrpcStatusError } from "../../../src/wire/grpc/status.ts";
import { type DaemonOptions, TestDaemon } from "../daemon.ts";
import { type LeakCheckOptions, withLeakCheck } from "../leaks.ts";
import { patient } from "../patience.ts";
import { podConfig } from "../pod.ts";
import { readMounts } from "../snapshot/files.ts";

const execute = promisify(execFile);

export const { POD, CONTAINER, NODE } = NamespaceMode;
export const READY = PodSandboxState.SANDBOX_READY;
export const NOTREADY = PodSandboxState.SANDBOX_NOTREADY;

/** The status codes of gRPC, by name. */
export const code = {
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  failedPrecondition: 9,
  aborted: 10,
  permissionDenied: 7,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
} as const;

/** For assert.rejects: checks the code and the message. */
export function failsWith(want: number, message = /./): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof GrpcStatusError, String(error));
    assert.equal(error.code, want, error.message);
    assert.match(error.message, message);
    return true;
  };
}

// ---- daemons

/** A daemon that has recovered: it serves every RPC. */
export async function startDaemon(options: DaemonOptions = {}): Promise<TestDaemon> {
  const daemon = TestDaemon.prepare(options);
  try {
    await launchDaemon(daemon);
    return daemon;
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts a stopped daemon, and waits until it has recovered. */
export async function launchDaemon(
  daemon: TestDaemon,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const from = daemon.lines.length;
  daemon.launch(env);
  await daemon.ready();
  await daemon.waitForLine(/"message":"ready"/, from, 20_000);
}

/** Removes all pods, the daemon and the bridge at the end of a suite. */
export async function endDaemon(daemon: TestDaemon | undefined): Promise<void> {
  if (daemon === undefined) return;
  try {
    const { items } = await daemon.client.runtime.listPodSandbox({});
    for (const { id } of items) await daemon.client.runtime.removePodSandbox({ podSandboxId: id });
  } finally {
    await daemon[Symbol.asyncDispose]();
    await removeBridge();
  }
}

/** Removes the bridge, which the bridge plugin creates for the first pod and never removes. */
export async function removeBridge(name = "dvt0"): Promise<void> {
  const links = await output("ip", "-o", "link");
  if (links.includes(` ${name}:`)) await output("ip", "link", "delete", name);
}

/** Files of the first pod, container, shim or pod CIDR that stay: directories, a socket, crun's compiled seccomp filters. */
const keptFiles = [
  /\/root\/(attachments\/|pod-cidrs)$/,
  /\/state\/[\w-]*(crun|runc)\/$/,
  /\/state\/([\w-]*crun|shims\/runtime\/k8s\.io)\/\.cache\//,
  /\/state\/shims\/(events\.sock|((pods|tasks|work|runtime|runtime\/k8s\.io|s)\/)?)$/,
];

/** Everything of a pod that could be left on the machine. */
export function leakOptions(daemon: TestDaemon): LeakCheckOptions {
  const own = daemon.leakOptions();
  return {
    ...own,
    ignoreFiles: [...(own.ignoreFiles ?? []), ...keptFiles],
    allow: {
      // Opened by the first checkpoint, at the first start of such a program, with the first host port that is removed and
      // with the first address for streams, and kept.
      fd: [/\/davit\.db(-wal)?$/, /^\/memfd:davit-program /, /^socket \((netfilter|listening)\)$/],
      // Chains that portmap creates once and keeps. Empty chains have no effect.
      iptables: [/^ip6?tables-save (nat|filter) (:|-A \S+ .*-j )CNI-(HOSTPORT|FORWARD|ADMIN)/],
      nft: [/ \/ chain CNI-(HOSTPORT|FORWARD|ADMIN)/, /jump CNI-(HOSTPORT|FORWARD|ADMIN)/],
    },
  };
}

/** The body of a test that must leave nothing, with a daemon that runs throughout. */
export function leakless(
  daemon: () => TestDaemon,
  run: () => Promise<void>,
): (t: TestContext) => Promise<void> {
  return async (t) => {
    // The connection itself is not a leak.
    await daemon().client.runtime.version({});
    await withLeakCheck(t, leakOptions(daemon()), run);
  };
}

/** Like leakless(), for a test that restarts the daemon, which is another process then. */
export function leaklessAcross(
  daemon: () => TestDaemon,
  run: () => Promise<void>,
): (t: TestContext) => Promise<void> {
  return async (t) => {
    const { daemonPid: _, ...options } = leakOptions(daemon());
    const serving = [new RegExp(`serve --config ${daemon().paths.directory}/`)];
    const allow = { ...options.allow, process: serving };
    await withLeakCheck(t, { ...options, allow }, run);
  };
}

// ---- pods

type Init = MessageInitShape<typeof PodSandboxConfigSchema>;

/** Namespaces of a pod that differ from the usual ones of the kubelet. */
export interface Modes {
  readonly network?: NamespaceMode;
  readonly pid?: NamespaceMode;
  readonly ipc?: NamespaceMode;
}

/** A pod's config with these namespaces; on the host's network it cannot have a hostname. */
export function pod(modes: Modes = {}, changes: Init = {}): PodSandboxConfig {
  const { network = POD, pid = CONTAINER, ipc = POD } = modes;
  const config = podConfig(changes);
  if (network === NODE && changes.hostname === undefined) config.hostname = "";
  const options = config.linux?.securityContext?.namespaceOptions;
  if (options !== undefined) Object.assign(options, { network, pid, ipc });
  return config;
}

/** The host ids of pods in user namespaces, which no user of the node has. */
export const userRange = { containerId: 0, hostId: 200_000, length: 65_536 };

/** A pod's config with a user namespace of its own. */
export function mapped(
  modes: Modes = {},
  users: { mode?: NamespaceMode; uids?: object[]; gids?: object[] } = {},
): PodSandboxConfig {
  const config = pod(modes);
  const options = config.linux?.securityContext?.namespaceOptions;
  assert.ok(options !== undefined);
  const { mode = POD, uids = [userRange], gids = [userRange] } = users;
  options.usernsOptions = create(UserNamespaceSchema, { mode, uids, gids });
  return config;
}

/** The cheapest pod: without a network, a process or a tmpfs. */
export function bare(changes: Init = {}): PodSandboxConfig {
  return pod({ network: NODE, ipc: NODE }, changes);
}

export async function runPod(
  daemon: TestDaemon,
  config: PodSandboxConfig,
  runtimeHandler = "",
): Promise<string> {
  const { podSandboxId } = await daemon.client.runtime.runPodSandbox({ config, runtimeHandler });
  return podSandboxId;
}

export async function stopPod(daemon: TestDaemon, podSandboxId: string): Promise<void> {
  await daemon.client.runtime.stopPodSandbox({ podSandboxId });
}

export async function removePod(daemon: TestDaemon, podSandboxId: string): Promise<void> {
  await daemon.client.runtime.removePodSandbox({ podSandboxId });
}

/** Runs a pod during `use`. */
export async function withPod(
  daemon: TestDaemon,
  config: PodSandboxConfig,
  use: (id: string) => Promise<void>,
  runtimeHandler = "",
): Promise<void> {
  const id = await runPod(daemon, config, runtimeHandler);
  try {
    await use(id);
  } finally {
    await removePod(daemon, id);
  }
}

export async function statusOf(
  daemon: TestDaemon,
  podSandboxId: string,
): Promise<PodSandboxStatus> {
  const { status } = await daemon.client.runtime.podSandboxStatus({ podSandboxId });
  assert.ok(status !== undefined);
  return status;
}

/** The parsed JSON text of the verbose status. */
export async function infoOf(
  daemon: TestDaemon,
  podSandboxId: string,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await daemon.client.runtime.podSandboxStatus({ podSandboxId, verbose: true });
  assert.deepEqual(Object.keys(answer.info), ["info"]);
  return JSON.parse(answer.info["info"] ?? "") as Record<string, unknown>;
}

/** The pid of the pod's holder. */
export async function holderOf(daemon: TestDaemon, podSandboxId: string): Promise<number> {
  const { pid } = await infoOf(daemon, podSandboxId);
  assert.ok(typeof pid === "number" && pid > 0, `the pid is ${String(pid)}`);
  return pid;
}

export async function listIds(daemon: TestDaemon): Promise<readonly string[]> {
  const { items } = await daemon.client.runtime.listPodSandbox({});
  return items.map(({ id }) => id);
}

/** One fact of the verbose runtime Status, parsed. */
export async function runtimeFact(daemon: TestDaemon, key: string): Promise<unknown> {
  const { info } = await daemon.client.runtime.status({ verbose: true });
  const text = info[key];
  assert.ok(text !== undefined, `verbose Status has no "${key}"`);
  return JSON.parse(text);
}

// ---- checks from outside

/** Calls `look` until it returns something other than undefined or false; see `patient`. A function says what at the end. */
export async function until<T>(
  what: string | (() => string),
  look: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + patient(timeoutMs);
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms: ${typeof what === "string" ? what : what()}`);
    }
    await sleep(20);
  }
}

/** The paths at which the pod's namespaces are pinned. */
export function pinsOf(
  daemon: TestDaemon,
  id: string,
): Readonly<Record<"net" | "ipc" | "uts" | "user", string>> {
  const at = (kind: string): string => path.join(daemon.paths.state, "ns", kind, id);
  return { net: at("net"), ipc: at("ipc"), uts: at("uts"), user: at("user") };
}

/** The file of a sandbox. */
export function fileOf(daemon: TestDaemon, id: string, name: string): string {
  return path.join(daemon.paths.state, "sandboxes", id, name);
}

/** The inode number of the namespace at a path. */
export function inodeOf(file: string): number {
  return statSync(file).ino;
}

/** The mount at a path, if there is one. */
export function mountAt(target: string): { readonly type: string } | undefined {
  return readMounts().find((mount) => mount.target === target);
}

/** The namespace that this test, and so the daemon, is in. */
export function hostInode(kind: "net" | "ipc" | "uts" | "user" | "pid"): number {
  return inodeOf(`/proc/self/ns/${kind}`);
}

export async function output(command: string, ...args: readonly string[]): Promise<string> {
  return (await execute(command, [...args])).stdout;
}

/** Runs a command in the pod's pinned namespaces. */
export async function inside(
  daemon: TestDaemon,
  id: string,
  kinds: readonly ("net" | "ipc" | "uts")[],
  ...command: readonly string[]
): Promise<string> {
  const pins = pinsOf(daemon, id);
  return output("nsenter", ...kinds.map((kind) => `--${kind}=${pins[kind]}`), ...command);
}

/** The directories of a cgroup in all hierarchies, even if they do not exist. */
export function cgroupDirectories(cgroup: string): readonly string[] {
  const roots = readMounts().filter(({ type }) => type === "cgroup" || type === "cgroup2");
  return roots.map(({ target }) => path.join(target, cgroup));
}

/** The existing directories of the cgroup. */
export function cgroupsThere(cgroup: string): readonly string[] {
  return cgroupDirectories(cgroup).filter((directory) => existsSync(directory));
}

/** Freezes a cgroup, as a pause does. Resolves when all of its processes are frozen. */
export async function freeze(cgroup: string): Promise<void> {
  const file = (name: string): string | undefined =>
    cgroupsThere(cgroup)
      .map((directory) => path.join(directory, name))
      .find((each) => existsSync(each));
  const legacy = file("freezer.state");
  // The v2 tree of a hybrid host has a file for it, too.
  if (legacy === undefined) writeFileSync(file("cgroup.freeze") ?? "", "1");
  else writeFileSync(legacy, "FROZEN");
  await until("it is frozen", () => isFrozen(cgroup));
}

/** Whether all processes of a cgroup are frozen. */
export function isFrozen(cgroup: string): boolean {
  const state = cgroupValue(cgroup, "freezer.state", "cgroup.events");
  return state === "FROZEN" || state.includes("frozen 1");
}

/** The text of a cgroup's file, from the hierarchy that has it. */
export function cgroupValue(cgroup: string, ...names: readonly string[]): string {
  for (const directory of cgroupDirectories(cgroup)) {
    for (const name of names) {
      const file = path.join(directory, name);
      if (existsSync(file)) return readFileSync(file, "utf8").trim();
    }
  }
  throw new Error(`cgroup ${cgroup} has none of ${names.join(", ")}`);
}

/** The process's cgroup in each hierarchy (cgroups(7), /proc/PID/cgroup). */
export function cgroupsOfProcess(pid: number): readonly string[] {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
  return lines.map((line) => line.split(":").slice(2).join(":"));
}

export function parentOf(config: PodSandboxConfig): string {
  return config.linux?.cgroupParent ?? "";
}

/** The addresses that host-local has assigned: it has a file for each. */
export async function takenAddresses(daemon: TestDaemon): Promise<readonly string[]> {
  const found = await output("find", daemon.paths.ipamDir, "-type", "f", "-printf", "%f\\n");
  return found.split("\n").filter((name) => /^[0-9a-f.:]*[.:][0-9a-f.:]*$/.test(name));
}

/** Makes the test's own directories searchable for all users, so that only the daemon's modes restrict access. */
export function openDirectories(daemon: TestDaemon): void {
  for (const directory of [tmpdir(), daemon.paths.directory]) chmodSync(directory, 0o755);
}

/** The daemon's database, for a daemon that is stopped. */
export function openDatabase(daemon: TestDaemon): DatabaseSync {
  return new DatabaseSync(path.join(daemon.paths.root, "davit.db"));
}
