import { RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Clock } from "../../base/time.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  type ControllerStatus,
  controllerNotReady,
  controllerReady,
  type CreatedSandbox,
  type NamespaceStates,
  type Sandbox,
  type SandboxController,
  type SandboxEnvironment,
  type SandboxExit,
  type StartedSandbox,
  type StatusQuestion,
  usesHostNetwork,
} from "../../core/sandbox/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { FakeHost } from "./fake-host.ts";
import { Trouble } from "./trouble.ts";

type Call =
  | "create"
  | "start"
  | "stop"
  | "closeNamespaces"
  | "shutdown"
  | "status"
  | "load"
  | "update"
  | "orphans"
  | "sweep";

/** Keeps sandboxes in memory: namespaces, files and a holder process on the fake host. */
export class FakeController implements SandboxController {
  readonly name: string;
  readonly trouble = new Trouble<Call>();
  /** The answer of status(), except the state. */
  facts: Partial<ControllerStatus> = {};
  /** The time that start() answers with. */
  createdAtNs: bigint | undefined;
  /** Whether start() answers with a process. */
  hasProcess = true;
  readonly namespaces: NamespaceStates;
  readonly #host: FakeHost;
  readonly #clock: Clock;
  readonly #ends = new Map<string, PromiseWithResolvers<SandboxExit>>();
  readonly #resources = new Map<string, Uint8Array | undefined>();
  #lastPid = 1000;

  constructor(deps: { readonly host: FakeHost; readonly clock: Clock; readonly name?: string }) {
    this.name = deps.name ?? "podsandbox";
    this.#host = deps.host;
    this.#clock = deps.clock;
    this.namespaces = {
      isOpen: (path) => this.#host.has("namespaces", path.slice(path.lastIndexOf("/") + 1)),
    };
  }

  /** The sandbox ends by itself. */
  die(id: string, reason: string): void {
    this.#host.remove("holder", id);
    this.#end(id, reason);
  }

  /** The last resources that update() took for a sandbox. */
  resourcesOf(id: string): Uint8Array | undefined {
    return this.#resources.get(id);
  }

  async create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox> {
    const { id, config } = sandbox;
    await operation.enter("make-directories");
    this.#host.make("files", id);
    await operation.enter("pin-namespaces");
    this.#host.make("namespaces", id);
    await this.trouble.at("create", operation.signal);
    return { netnsPath: usesHostNetwork(config) ? undefined : `/ns/net/${id}` };
  }

  async start({ id }: Sandbox, operation: Operation): Promise<StartedSandbox> {
    await operation.enter("make-files");
    await operation.enter("start-holder");
    this.#host.make("holder", id);
    await this.trouble.at("start", operation.signal);
    await operation.enter("write-sysctls");
    this.#lastPid++;
    const process = this.hasProcess ? { pid: this.#lastPid, startTime: "1" } : undefined;
    return { process, createdAtNs: this.createdAtNs };
  }

  async stop({ id }: Sandbox, signal: AbortSignal): Promise<void> {
    await this.trouble.at("stop", signal);
    this.#host.remove("holder", id);
    this.#end(id, "it was stopped");
  }

  async closeNamespaces({ id }: Sandbox, signal: AbortSignal): Promise<void> {
    await this.trouble.at("closeNamespaces", signal);
    this.#host.remove("namespaces", id);
  }

  async shutdown({ id }: Sandbox, signal: AbortSignal): Promise<void> {
    await this.trouble.at("shutdown", signal);
    this.#host.remove("holder", id);
    this.#host.remove("namespaces", id);
    this.#host.remove("files", id);
    this.#end(id, "it was removed");
  }

  status(sandbox: Sandbox, question: StatusQuestion): Promise<ControllerStatus> | ControllerStatus {
    const trouble = this.trouble.at("status", question.signal);
    const answer = (): ControllerStatus => this.#statusOf(sandbox, question);
    return trouble === undefined ? answer() : trouble.then(answer);
  }

  environment({ id, config }: Sandbox): SandboxEnvironment {
    const net = usesHostNetwork(config) ? {} : { net: `/ns/net/${id}` };
    return { pins: { ...net, user: `/ns/user/${id}` }, files: {} };
  }

  async wait({ id }: Sandbox, signal: AbortSignal): Promise<SandboxExit> {
    return beforeAbort(this.#endOf(id).promise, signal);
  }

  async load({ id }: Sandbox, signal: AbortSignal): Promise<string | undefined> {
    await this.trouble.at("load", signal);
    return this.#host.has("holder", id) ? undefined : "its holder is gone";
  }

  async update({ id, resourcesBytes }: Sandbox, signal: AbortSignal): Promise<void> {
    await this.trouble.at("update", signal);
    this.#resources.set(id, resourcesBytes);
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    await this.trouble.at("orphans");
    return [...new Set([...this.#host.idsOf("files"), ...this.#host.idsOf("namespaces")])].filter(
      (id) => !known.has(id),
    );
  }

  async sweep(known: KnownIds, signal: AbortSignal): Promise<readonly string[]> {
    await this.trouble.at("sweep", signal);
    const ids = await this.orphans(known);
    for (const id of ids) {
      for (const thing of ["holder", "namespaces", "files"] as const) this.#host.remove(thing, id);
    }
    return ids.map((id) => `sandbox ${id}`);
  }

  #statusOf({ id }: Sandbox, { verbose }: StatusQuestion): ControllerStatus {
    if (!this.#host.has("files", id)) {
      throw new RuntimeError("not-found", `find sandbox "${id}": it is not known`);
    }
    const alive = this.#host.has("holder", id);
    return {
      state: alive ? controllerReady : controllerNotReady,
      pid: alive ? 7 : 0,
      createdAtNs: undefined,
      info: verbose ? { runtimeSpec: {} } : {},
      ...this.facts,
    };
  }

  #endOf(id: string): PromiseWithResolvers<SandboxExit> {
    const end = this.#ends.get(id) ?? Promise.withResolvers<SandboxExit>();
    this.#ends.set(id, end);
    return end;
  }

  #end(id: string, reason: string): void {
    this.#endOf(id).resolve({ exitCode: 0, exitedAtNs: this.#clock.nowNs(), reason });
  }
}
