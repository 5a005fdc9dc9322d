/**
 * Sites for crash tests: a daemon with two pods that must not be affected while operations on other pods are
 * killed, fail or hang at a named stage.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CrashPoint, crashPoints } from "../../../src/core/operation/index.ts";
import type { PodSandboxConfig, PodSandboxStatus } from "../../../src/gen/runtime/v1/api_pb.ts";
import { GrpcStatusError } from "../../../src/wire/grpc/status.ts";
import {
  CONTAINER,
  cgroupDirectories,
  code,
  endDaemon,
  inside,
  launchDaemon,
  leakOptions,
  mapped,
  mountAt,
  NOTREADY,
  parentOf,
  pinsOf,
  POD,
  pod,
  READY,
  runPod as runPodBy,
  runtimeFact,
  startDaemon,
  statusOf,
  until,
} from "../suites/pods.ts";
import type { TestDaemon } from "../daemon.ts";
import { describeLeaks, findLeaks, type Snapshot, takeSnapshot } from "../leaks.ts";

/** Where a fault is injected: a crash point, and which visit of it within one operation. */
export interface Spot {
  readonly point: CrashPoint;
  readonly visit: number;
}

/** What DAVIT_FAULTS can do at a spot. */
export type FaultAction = "kill" | "throw" | "hang";

/** How often a stage is entered in one operation, if that is not once. */
const visitsOf: Partial<Readonly<Record<CrashPoint, number>>> = {
  // Plugins of the test network: bridge and portmap.
  "run-pod-sandbox/network-plugin-done": 2,
  "stop-pod-sandbox/network-plugin-done": 2,
  // The layers that only a test's image has.
  "pull-layer/publish": 2,
  "pull-layer/answer": 2,
  "remove-image/remove-layer": 2,
};

/** Who makes a pod's sandbox. */
type Controller = "podsandbox" | "shim";

/** The stages that only one controller has. */
const controllerOf: Partial<Readonly<Record<CrashPoint, Controller>>> = {
  "run-pod-sandbox/make-directories": "podsandbox",
  "run-pod-sandbox/start-holder": "podsandbox",
  "run-pod-sandbox/write-sysctls": "podsandbox",
  "run-pod-sandbox/start-shim": "shim",
  "run-pod-sandbox/create-sandbox": "shim",
  "run-pod-sandbox/start-sandbox": "shim",
};

/** The crash points that the sandboxes of this controller reach. */
export function pointsOf(controller: Controller): readonly CrashPoint[] {
  return crashPoints.filter((point) => (controllerOf[point] ?? controller) === controller);
}

/** All spots of one operation, in order. */
export function spotsOf(operation: string, controller: Controller = "podsandbox"): readonly Spot[] {
  return pointsOf(controller)
    .filter((point) => point.startsWith(`${operation}/`))
    .flatMap((point) => {
      return Array.from({ length: visitsOf[point] ?? 1 }, (_, at) => ({ point, visit: at + 1 }));
    });
}

/** The spots at these stages. Throws if a stage has none, so that a test cannot lose its cases by a new name. */
export function atStages(spots: readonly Spot[], ...names: readonly string[]): readonly Spot[] {
  for (const name of names) {
    const found = spots.some(({ point }) => stageOf(point) === name);
    assert.ok(found, `no crash point is at stage "${name}"`);
  }
  return spots.filter(({ point }) => names.includes(stageOf(point)));
}

/** A fault as DAVIT_FAULTS has it. */
export function faultAt({ point, visit }: Spot, action: FaultAction): string {
  return `${point}=${action}@${visit}`;
}

/** The stage of a point, as errors name it. */
export function stageOf(point: CrashPoint): string {
  return point.slice(point.indexOf("/") + 1);
}

/** The name of a spot in test names. */
export function nameOf({ point, visit }: Spot): string {
  return visit === 1 ? point : `${point}@${visit}`;
}

/** The items of a list in turn, so that neighbours differ. */
export function turn<T>(list: readonly T[], at: number): T {
  const item = list[at % list.length];
  assert.ok(item !== undefined);
  return item;
}

/** Kinds of pods that are built in different ways. */
export type PodKind =
  | "with a holder"
  | "without a holder"
  | "in a user namespace"
  | "by a sandboxer";

/** The kinds of pods whose sandboxes davit makes itself. */
export const podKinds: readonly PodKind[] = [
  "without a holder",
  "with a holder",
  "in a user namespace",
];

/** The name of the handler whose sandboxes a sandboxer makes. */
export const sandboxerHandler = "sandboxer";
const bySandboxer = new WeakSet<PodSandboxConfig>();

/** Whether a sandboxer makes the sandbox of the pod. */
function isBySandboxer(config: PodSandboxConfig): boolean {
  return bySandboxer.has(config);
}

/** Runs a pod that podOf() returned, with the handler of its kind. */
export function runPod(daemon: TestDaemon, config: PodSandboxConfig): Promise<string> {
  return runPodBy(daemon, config, isBySandboxer(config) ? sandboxerHandler : "");
}

/** A pod of this kind, with a name and a cgroup parent of its own. */
export function podOf(kind: PodKind): PodSandboxConfig {
  if (kind === "by a sandboxer") {
    const config = pod();
    bySandboxer.add(config);
    return config;
  }
  if (kind === "in a user namespace") return mapped({ pid: POD });
  return pod({ pid: kind === "with a holder" ? POD : CONTAINER });
}

/** A running pod, and its facts that must not change. */
interface Bystander {
  readonly kind: PodKind;
  readonly id: string;
  readonly config: PodSandboxConfig;
  readonly ip: string;
  readonly holders: readonly number[];
}

/** The daemon that a site uses, and its bystanders. */
interface Ground {
  readonly daemon: TestDaemon;
  /** The kinds of its bystanders; podKinds by default. */
  readonly kinds?: readonly PodKind[];
  /** More directories in which nothing may be left. */
  readonly directories?: readonly string[];
  /** Adds more bystanders to the pods. The result checks that they have not changed. */
  readonly populate?: (pods: readonly Bystander[]) => Promise<() => Promise<void>>;
  /** Removes all pods and the daemon. */
  readonly end: () => Promise<void>;
}

/** A daemon without more bystanders. */
async function bareGround(): Promise<Ground> {
  const daemon = await startDaemon();
  return { daemon, end: () => endDaemon(daemon) };
}

/** A daemon, its bystanders, and the state of everything before the first fault. */
export class CrashSite {
  readonly daemon: TestDaemon;
  readonly bystanders: readonly Bystander[];
  readonly #before: Snapshot;
  readonly #ground: Ground;
  readonly #checkPopulation: () => Promise<void>;

  private constructor(
    ground: Ground,
    bystanders: readonly Bystander[],
    checkPopulation: () => Promise<void>,
    before: Snapshot,
  ) {
    this.daemon = ground.daemon;
    this.bystanders = bystanders;
    this.#before = before;
    this.#ground = ground;
    this.#checkPopulation = checkPopulation;
  }

  /** The kinds of its bystanders. */
  get kinds(): readonly PodKind[] {
    return this.#ground.kinds ?? podKinds;
  }

  static async open(ground: Ground): Promise<CrashSite> {
    const { daemon, kinds = podKinds } = ground;
    try {
      const bystanders = await Promise.all(kinds.map((kind) => startBystander(daemon, kind)));
      const check = (await ground.populate?.(bystanders)) ?? (() => Promise.resolve());
      const before = await takeSnapshot(optionsOf(ground));
      return new CrashSite(ground, bystanders, check, before);
    } catch (error) {
      await ground.end();
      throw error;
    }
  }

  /** Starts the daemon again with these faults, and waits until it has recovered. */
  async begin(...faults: readonly string[]): Promise<void> {
    await this.daemon.stop();
    await launchDaemon(this.daemon, { DAVIT_FAULTS: faults.join(",") });
  }

  /** Makes a call whose fault kills the daemon, and fails if the daemon survives. */
  async killedBy(spot: Spot, call: Promise<unknown>): Promise<void> {
    const [answer] = await Promise.allSettled([call]);
    const answered = answer.status === "fulfilled" ? "answered" : String(answer.reason);
    await this.#dead(spot, `the call ended with: ${answered}`);
  }

  /** Starts the daemon, which is down, with a fault that kills it during recovery. */
  async killedInRecovery(spot: Spot): Promise<void> {
    this.daemon.launch({ DAVIT_FAULTS: faultAt(spot, "kill") });
    await this.#dead(spot, "the daemon recovered");
  }

  /** Starts the daemon, which is down, without faults. */
  async recover(): Promise<void> {
    await launchDaemon(this.daemon);
  }

  /** Resolves when an operation is in the stage of the point. */
  async reached(spot: Spot): Promise<void> {
    await until(`an operation is at ${spot.point}`, () => this.#isAt(spot));
  }

  /** Resolves when no operation is in the stage of the point any more. */
  async left(spot: Spot): Promise<void> {
    await until(`no operation is at ${spot.point}`, async () => !(await this.#isAt(spot)));
  }

  /** Checks that the bystanders have not changed, for the daemon and for the kernel. */
  async checkBystanders(): Promise<void> {
    await this.#checkPopulation();
    for (const { id, config, ip, holders } of this.bystanders) {
      const status = await checkTrue(this.daemon, id, config, "ready");
      assert.equal(status.network?.ip, ip);
      assert.deepEqual(holdersOf(id, config), holders);
    }
  }

  /** Checks that only the bystanders exist: on the machine, on disk and in lists. */
  async checkNothingLeft(): Promise<void> {
    await this.checkBystanders();
    const { items } = await this.daemon.client.runtime.listPodSandbox({});
    const ids = this.bystanders.map(({ id }) => id);
    assert.deepEqual(items.map(({ id }) => id).toSorted(), ids.toSorted(), "listed pods");
    const leaks = await findLeaks(this.#before, optionsOf(this.#ground));
    assert.equal(leaks.length, 0, `found what was left behind:\n${describeLeaks(leaks)}`);
  }

  /** Removes all pods and the daemon, in any state of the site. */
  async close(): Promise<void> {
    await this.daemon.kill9();
    await this.recover();
    await this.#ground.end();
  }

  async #isAt({ point }: Spot): Promise<boolean> {
    const [operation, stage] = point.split("/");
    const views = (await runtimeFact(this.daemon, "inflight")) as Record<string, unknown>[];
    return views.some((view) => view["operation"] === operation && view["stage"] === stage);
  }

  async #dead({ point, visit }: Spot, otherwise: string): Promise<void> {
    const exit = await Promise.race([this.daemon.exited, sleep(10_000, undefined, { ref: false })]);
    const what = `${point}, visit ${visit}, was never hit: ${otherwise}\n${this.daemon.tail(10)}`;
    assert.equal(exit?.signal, "SIGKILL", what);
  }
}

/**
 * Runs scenarios on one site. After a scenario that fails, the next one gets another site, so that failures are
 * independent.
 */
export class CrashSites implements AsyncDisposable {
  readonly #open: () => Promise<Ground>;
  #site: CrashSite | undefined;

  constructor(open: () => Promise<Ground> = bareGround) {
    this.#open = open;
  }

  async run(scenario: (site: CrashSite) => Promise<void>): Promise<void> {
    this.#site ??= await CrashSite.open(await this.#open());
    try {
      await scenario(this.#site);
    } catch (error) {
      await this[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const site = this.#site;
    this.#site = undefined;
    await site?.close();
  }
}

/** Repeats the call as a kubelet does while the answer is `Unavailable`. Other errors are final. */
export async function retry<T>(what: string, call: () => Promise<T>): Promise<T> {
  return until(what, async () => {
    try {
      return { answer: await call() };
    } catch (error) {
      if (error instanceof GrpcStatusError && error.code === code.unavailable) return undefined;
      throw error;
    }
  }).then(({ answer }) => answer);
}

/**
 * Repeats the same RunPodSandbox until the sandbox exists: from this call, or from an earlier one that
 * AlreadyExists names.
 */
export async function retryRun(
  daemon: TestDaemon,
  config: PodSandboxConfig,
): Promise<{ readonly id: string; readonly existed: boolean }> {
  try {
    return { id: await retry("a pod runs", () => runPod(daemon, config)), existed: false };
  } catch (error) {
    if (!(error instanceof GrpcStatusError) || error.code !== code.alreadyExists) throw error;
    const id = await idOf(daemon, config);
    assert.ok(id !== undefined, `not listed, and yet: ${error.message}`);
    assert.ok(error.message.includes(id), `does not name ${id}: ${error.message}`);
    return { id, existed: true };
  }
}

/** The id of the listed sandbox of this pod. */
export async function idOf(
  daemon: TestDaemon,
  config: PodSandboxConfig,
): Promise<string | undefined> {
  const { items } = await daemon.client.runtime.listPodSandbox({});
  return items.find(({ metadata }) => metadata?.uid === config.metadata?.uid)?.id;
}

/** The status of a sandbox, after a comparison with the kernel's state. */
export async function checkTrue(
  daemon: TestDaemon,
  id: string,
  config: PodSandboxConfig,
  want: "ready" | "not ready",
): Promise<PodSandboxStatus> {
  const status = await statusOf(daemon, id);
  assert.equal(status.state, want === "ready" ? READY : NOTREADY, `state of ${id}`);
  const ip = status.network?.ip ?? "";
  const hasNetwork = mountAt(pinsOf(daemon, id).net) !== undefined;
  if (want === "ready") {
    assert.ok(hasNetwork, `${id} is READY without a network namespace`);
    const wantHolders = needsHolder(config) ? 1 : 0;
    assert.equal(holdersOf(id, config).length, wantHolders, `holders of ${id}`);
    const addresses = await inside(daemon, id, ["net"], "ip", "-o", "addr", "show", "dev", "eth0");
    assert.ok(addresses.includes(` ${ip}/`), `${id} says ${ip}, its eth0 has: ${addresses}`);
  } else if (!hasNetwork) {
    assert.equal(ip, "", `${id} has an address and no network namespace`);
  }
  return status;
}

/** Checks that no process of the sandbox runs, and that it has no network. */
export function checkStopped(daemon: TestDaemon, id: string, config: PodSandboxConfig): void {
  assert.deepEqual(holdersOf(id, config), [], `processes of ${id}`);
  for (const pin of Object.values(pinsOf(daemon, id))) {
    assert.equal(mountAt(pin), undefined, `${pin} is still mounted`);
  }
}

/** The processes in the sandbox's own cgroup. */
function holdersOf(id: string, config: PodSandboxConfig): readonly number[] {
  const pids = cgroupDirectories(`${parentOf(config)}/${id}`)
    .map((directory) => path.join(directory, "cgroup.procs"))
    .filter((file) => existsSync(file))
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .filter((line) => line !== "");
  return [...new Set(pids)].map(Number);
}

function needsHolder(config: PodSandboxConfig): boolean {
  return config.linux?.securityContext?.namespaceOptions?.pid === POD;
}

async function startBystander(daemon: TestDaemon, kind: PodKind): Promise<Bystander> {
  const config = podOf(kind);
  config.logDirectory = path.join(daemon.paths.directory, "logs", config.metadata?.uid ?? "");
  const id = await runPod(daemon, config);
  const status = await checkTrue(daemon, id, config, "ready");
  const holders = holdersOf(id, config);
  // vfork's parent continues when the child has its new memory, a moment before it has its new name.
  const isNamed = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, "utf8") !== "";
  await until("the holder has its name", () => holders.every(isNamed));
  return { kind, id, config, ip: status.network?.ip ?? "", holders };
}

/**
 * What may differ after a restart: the daemon is another process. Descriptors are compared within one run of a
 * daemon (load.test.ts), not across restarts.
 */
function optionsOf({ daemon, directories = [] }: Ground): ReturnType<typeof leakOptions> {
  const options = leakOptions(daemon);
  const roots = [...(options.roots ?? []), ...directories];
  const itself = new RegExp(` serve --config ${daemon.paths.directory}/`);
  return { ...options, roots, allow: { ...options.allow, fd: true, process: [itself] } };
}
