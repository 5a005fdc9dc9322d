/**
 * A sandbox controller that follows a script: the daemon sees a shim that dies, hangs or sends invalid answers.
 * It has the name "shim", as the driver of such shims has.
 *
 * The script is a JSON file that is read at every call, so that a test changes it while the daemon
 * runs; test-controller-daemon.ts puts the controller into a daemon.
 */
import type { KnownIds } from "../../src/core/store/index.ts";
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { RuntimeError } from "../../src/base/errors.ts";
import type { Operation } from "../../src/core/operation/index.ts";
import {
  type ControllerStatus,
  type CreatedSandbox,
  controllerReady,
  type Sandbox,
  type SandboxController,
  type SandboxEnvironment,
  type SandboxExit,
  type StartedSandbox,
  usesHostNetwork,
} from "../../src/core/sandbox/index.ts";
import {
  isNamespaceMounted,
  type NamespaceWatch,
  pinNamespaces,
  unpinNamespace,
} from "../../src/linux/namespace/index.ts";

/** How a call of a sandboxer fails. */
type ControllerFault =
  | { readonly does: "not-found" }
  /** Never answers, and ignores its abort signal. */
  | { readonly does: "hang" }
  /** The connection is closed in the middle of the call. */
  | { readonly does: "drop" }
  | { readonly does: "fail"; readonly message: string };

/** The answer of status(). */
interface ScriptedStatus {
  readonly does: "answer";
  readonly state: string;
  readonly pid?: number;
  /** Digits; absent if the sandboxer does not set it. */
  readonly createdAtNs?: string;
  readonly info?: Readonly<Record<string, unknown>>;
}

/** What each call does. A call that is not named succeeds. */
export interface ControllerScript {
  readonly status?: ScriptedStatus | ControllerFault;
  /** The creation time that start() returns; digits. */
  readonly startedAtNs?: string;
  readonly load?: ControllerFault;
  readonly update?: ControllerFault;
  readonly stop?: ControllerFault;
}

/** Replaces the script atomically: a call reads the old one or the new one. */
export function writeScript(file: string, script: ControllerScript): void {
  writeFileSync(`${file}.tmp`, JSON.stringify(script));
  renameSync(`${file}.tmp`, file);
}

/** The controller. Each of its sandboxes is a pinned network namespace without a process. */
export class TestController implements SandboxController {
  readonly name = "shim";
  readonly #script: string;
  readonly #directory: string;
  readonly #namespaces: NamespaceWatch;
  readonly #ends = new Map<string, (exit: SandboxExit) => void>();
  /** Counts status() calls; verbose info shows it. */
  #asked = 0;

  constructor(deps: {
    readonly script: string;
    readonly state: string;
    readonly namespaces: NamespaceWatch;
  }) {
    this.#script = deps.script;
    this.#directory = path.join(deps.state, "test-controller");
    this.#namespaces = deps.namespaces;
    mkdirSync(this.#directory, { recursive: true });
  }

  environment(): SandboxEnvironment {
    return { pins: {}, files: {} };
  }

  async create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox> {
    await operation.enter("pin-namespaces");
    if (usesHostNetwork(sandbox.config)) return { netnsPath: undefined };
    const netnsPath = this.#pin(sandbox.id);
    await pinNamespaces({ net: netnsPath });
    this.#watch(netnsPath);
    return { netnsPath };
  }

  async start(): Promise<StartedSandbox> {
    const { startedAtNs } = this.#read();
    return {
      process: undefined,
      createdAtNs: startedAtNs === undefined ? undefined : BigInt(startedAtNs),
    };
  }

  async status(
    sandbox: Sandbox,
    options: { readonly verbose: boolean },
  ): Promise<ControllerStatus> {
    this.#asked += 1;
    const { status } = this.#read();
    if (status !== undefined && status.does !== "answer") return misbehave(status, sandbox.id);
    const { createdAtNs, info } = status ?? {};
    return {
      state: status?.state ?? controllerReady,
      pid: status?.pid ?? 0,
      createdAtNs: createdAtNs === undefined ? undefined : BigInt(createdAtNs),
      info: options.verbose ? { asked: this.#asked, ...info } : {},
    };
  }

  async stop(sandbox: Sandbox): Promise<void> {
    const { stop } = this.#read();
    if (stop !== undefined) await misbehave(stop, sandbox.id);
    this.#ends.get(sandbox.id)?.({ exitCode: 0, exitedAtNs: 0n, reason: "it was stopped" });
  }

  async closeNamespaces(sandbox: Sandbox): Promise<void> {
    this.#namespaces.delete(this.#pin(sandbox.id));
    await unpinNamespace(this.#pin(sandbox.id));
  }

  async shutdown(sandbox: Sandbox): Promise<void> {
    await this.closeNamespaces(sandbox);
  }

  async wait(sandbox: Sandbox, signal: AbortSignal): Promise<SandboxExit> {
    return new Promise((resolve, reject) => {
      this.#ends.set(sandbox.id, resolve);
      signal.addEventListener("abort", () => {
        reject(new RuntimeError("canceled", "the daemon ends"));
      });
    });
  }

  async load(sandbox: Sandbox): Promise<string | undefined> {
    const { load } = this.#read();
    if (isNamespaceMounted(this.#pin(sandbox.id))) this.#watch(this.#pin(sandbox.id));
    if (load !== undefined) await misbehave(load, sandbox.id);
    return undefined;
  }

  async update(sandbox: Sandbox): Promise<void> {
    const { update } = this.#read();
    if (update !== undefined) await misbehave(update, sandbox.id);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    return readdirSync(this.#directory).filter((id) => !known.has(id));
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const ids = await this.orphans(known);
    for (const id of ids) await unpinNamespace(this.#pin(id));
    return ids.map((id) => `namespace ${this.#pin(id)}`);
  }

  #pin(id: string): string {
    return path.join(this.#directory, id);
  }

  /** Here a sandbox outlives its network namespace: such a sandboxer has a VM. */
  #watch(netnsPath: string): void {
    this.#namespaces.add(netnsPath, () => undefined);
  }

  #read(): ControllerScript {
    return JSON.parse(readFileSync(this.#script, "utf8")) as ControllerScript;
  }
}

async function misbehave(fault: ControllerFault, id: string): Promise<never> {
  switch (fault.does) {
    case "not-found":
      throw new RuntimeError(
        "not-found",
        `ask the shim of sandbox "${id}": it knows no such sandbox`,
      );
    case "hang":
      return new Promise(() => undefined);
    case "drop":
      throw new RuntimeError("unavailable", `ask the shim of sandbox "${id}": connection closed`);
    case "fail":
      throw new RuntimeError("internal", fault.message);
  }
}
