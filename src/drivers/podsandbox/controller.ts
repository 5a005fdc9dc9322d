import { chmod, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { isKind, messageOf, RuntimeError } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { Clock } from "../../base/time.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  type ControllerStatus,
  type CreatedSandbox,
  controllerNotReady,
  controllerReady,
  podSysctls,
  podUsers,
  type Sandbox,
  type SandboxController,
  type SandboxEnvironment,
  type SandboxExit,
  type StartedSandbox,
  type StatusQuestion,
} from "../../core/sandbox/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import {
  isNamespaceMounted,
  type NamespaceWatch,
  pinNamespaces,
  unpinNamespace,
  unpinNamespaces,
  writeSysctls,
} from "../../linux/namespace/index.ts";
import { makePrivateBind, unmount } from "../../linux/mount/index.ts";
import { makeFiles, makeDirectory } from "./files.ts";
import { PodFiles } from "./pod-files.ts";
import {
  clearHolderCgroup,
  endOrphanHolders,
  findHolder,
  type Holder,
  startHolder,
} from "./holder.ts";
import { needsHolder, pinKinds, type PinnedPaths, StateLayout } from "./state-layout.ts";
import { runtimeSpec } from "./runtime-spec.ts";

/** A sandbox that this daemon has started or adopted. */
interface Tracked {
  readonly holder: Holder | undefined;
  readonly exit: Promise<SandboxExit>;
  readonly end: (reason: string) => void;
  ended: boolean;
}

interface Deps {
  readonly state: string;
  readonly cgroups: CgroupLayout;
  readonly namespaces: NamespaceWatch;
  readonly clock: Clock;
}

/**
 * The controller that builds a pod's namespaces itself.
 *
 * A sandbox is three bind-mounted namespaces, three files and a tmpfs; only a pod-wide PID
 * namespace needs a process, and the sandbox ends with it. Without one the sandbox lives as
 * long as its namespaces are mounted, and one with only the host's namespaces as long as its files exist.
 */
export class PodSandboxController implements SandboxController {
  readonly name = "podsandbox";
  readonly #deps: Deps;
  readonly #paths: StateLayout;
  readonly #files: PodFiles;
  readonly #tracked = new Map<string, Tracked>();
  /** Files that are written while the network is added; shutdown waits for them. */
  readonly #making = new Map<string, Promise<void>>();

  private constructor(deps: Deps) {
    this.#deps = deps;
    this.#paths = new StateLayout(deps.state);
    this.#files = new PodFiles(deps.state);
  }

  /**
   * Makes the directories that all sandboxes share. Their mounts stay private to this mount namespace. The OCI
   * runtime opens namespaces as root, so other users cannot enter their directory. Content that a container
   * writes to a file of its pod can never be executed on the node: files of an older davit, which are in the
   * directory itself, also become nosuid, nodev and noexec.
   */
  static async open(deps: Deps): Promise<PodSandboxController> {
    const controller = new PodSandboxController(deps);
    const { namespaces, sandboxes } = controller.#paths;
    for (const directory of [namespaces, sandboxes]) {
      await mkdir(directory, { recursive: true, mode: 0o711 });
      await makePrivateBind(directory, { inert: true });
    }
    await chmod(namespaces, 0o700);
    for (const kind of pinKinds)
      await mkdir(join(namespaces, kind), { recursive: true, mode: 0o711 });
    return controller;
  }

  async create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox> {
    await operation.enter("make-directories");
    await makeDirectory(this.#paths, sandbox);

    await operation.enter("pin-namespaces");
    const pins = this.#paths.pinned(sandbox);
    const { hostname } = sandbox.config;
    const users = podUsers(sandbox.config);
    await pinNamespaces({
      ...pins,
      ...(users === undefined ? {} : { users }),
      ...(pins.uts === undefined || hostname === "" ? {} : { hostname }),
    });

    // Plugins take most of the time of a start; the files are written in parallel.
    const making = makeFiles(this.#paths, sandbox);
    making.catch(() => undefined);
    this.#making.set(sandbox.id, making);
    return { netnsPath: pins.net };
  }

  async start(sandbox: Sandbox, operation: Operation): Promise<StartedSandbox> {
    await operation.enter("make-files");
    await this.#making.get(sandbox.id);
    this.#making.delete(sandbox.id);
    const pins = this.#paths.pinned(sandbox);

    await operation.enter("start-holder");
    const holder = needsHolder(sandbox)
      ? await startHolder(this.#deps.cgroups, sandbox, pins)
      : undefined;

    await operation.enter("write-sysctls");
    await setSysctls(sandbox, pins);
    this.#track(sandbox.id, holder, pins);
    return { process: holder?.identity, createdAtNs: undefined };
  }

  async stop(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const tracked = this.#tracked.get(sandbox.id);
    tracked?.end("it was stopped");
    if (!needsHolder(sandbox)) return;
    const holder =
      tracked?.holder ?? (sandbox.process === undefined ? undefined : findHolder(sandbox.process));
    holder?.kill();
    await beforeAbort(clearHolderCgroup(this.#deps.cgroups, sandbox), signal);
    if (holder !== undefined) await beforeAbort(holder.exited, signal);
  }

  async closeNamespaces(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const pins = Object.values(this.#paths.pins(sandbox.id));
    for (const path of pins) this.#deps.namespaces.delete(path);
    await beforeAbort(unpinNamespaces(pins), signal);
  }

  async shutdown(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    await this.#making.get(sandbox.id)?.catch(() => undefined);
    this.#making.delete(sandbox.id);
    await this.stop(sandbox, signal);
    await this.closeNamespaces(sandbox, signal);
    await beforeAbort(this.#files.remove(sandbox.id), signal);
    this.#tracked.delete(sandbox.id);
  }

  status(sandbox: Sandbox, question: Pick<StatusQuestion, "verbose">): ControllerStatus {
    const tracked = this.#tracked.get(sandbox.id);
    if (tracked === undefined) {
      throw new RuntimeError(
        "not-found",
        `get status of sandbox "${sandbox.id}": it is not running here`,
      );
    }
    return {
      state: tracked.ended ? controllerNotReady : controllerReady,
      pid: tracked.ended ? 0 : (tracked.holder?.identity.pid ?? 0),
      createdAtNs: undefined,
      info: question.verbose
        ? { runtimeSpec: runtimeSpec(sandbox, this.#paths.pinned(sandbox)) }
        : {},
    };
  }

  environment(sandbox: Sandbox): SandboxEnvironment {
    return {
      pins: this.#paths.pinned(sandbox),
      ...(sandbox.process === undefined ? {} : { pid: sandbox.process.pid }),
      files: this.#files.paths(sandbox),
    };
  }

  async wait(sandbox: Sandbox, signal: AbortSignal): Promise<SandboxExit> {
    const tracked = this.#tracked.get(sandbox.id);
    if (tracked !== undefined) return beforeAbort(tracked.exit, signal);
    throw new RuntimeError("not-found", `wait for sandbox "${sandbox.id}": it is not running here`);
  }

  async load(sandbox: Sandbox): Promise<string | undefined> {
    const hasFiles = await this.#files.closeDirectory(sandbox);
    const pins = this.#paths.pinned(sandbox);
    const holder = sandbox.process === undefined ? undefined : findHolder(sandbox.process);
    const tracked = this.#track(sandbox.id, holder, pins);
    const unpinned = pinEntries(pins).find(([, path]) => !this.#deps.namespaces.isOpen(path));
    if (unpinned !== undefined) tracked.end(`its ${unpinned[0]} namespace is no longer mounted`);
    if (holder === undefined && needsHolder(sandbox)) {
      tracked.end("the process that held its PID namespace is gone");
    }
    // A pod with only the host's namespaces has nothing else that ends: none of its containers could start.
    if (!hasFiles && pinEntries(pins).length === 0) tracked.end("its files are gone");
    return tracked.ended ? (await tracked.exit).reason : undefined;
  }

  async update(): Promise<void> {
    // The sandbox has no process whose limits could change; its cgroup is written by the caller.
  }

  async orphans(known: KnownIds): Promise<readonly string[]> {
    const { namespaces, sandboxes } = this.#paths;
    const directories = [sandboxes, ...pinKinds.map((kind) => join(namespaces, kind))];
    const found = await Promise.all(directories.map((directory) => unknownIn(directory, known)));
    return [...new Set(found.flat())];
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const swept = [...(await endOrphanHolders(this.#deps.cgroups, await this.orphans(known)))];
    const failures: unknown[] = [];
    const take = async (what: string, remove: () => Promise<void>): Promise<void> => {
      try {
        await remove();
        swept.push(what);
      } catch (error) {
        // A failure must not stop the rest.
        failures.push(error);
      }
    };
    for (const kind of pinKinds) {
      const directory = join(this.#paths.namespaces, kind);
      for (const id of await unknownIn(directory, known)) {
        await take(`namespace ${join(directory, id)}`, () => unpinNamespace(join(directory, id)));
      }
    }
    for (const id of await unknownIn(this.#paths.sandboxes, known)) {
      await take(`directory ${this.#paths.directory(id)}`, () => this.#files.remove(id));
    }
    if (failures.length > 0) throw failures[0];
    return swept;
  }

  /** Unmounts the shared mounts when no sandbox needs them, as at the end of a daemon without pods. */
  async close(): Promise<void> {
    const { namespaces, sandboxes } = this.#paths;
    const left = await Promise.all([
      readdir(sandboxes),
      ...pinKinds.map((kind) => readdir(join(namespaces, kind))),
    ]);
    if (left.every((entries) => entries.length === 0)) {
      await unmount(namespaces);
      await unmount(sandboxes);
    }
  }

  /** Tracks a sandbox: it ends with its holder or with one of its namespaces. */
  #track(id: string, holder: Holder | undefined, pins: PinnedPaths): Tracked {
    const { promise: exit, resolve } = Promise.withResolvers<SandboxExit>();
    const tracked: Tracked = {
      holder,
      exit,
      ended: false,
      end: (reason) => {
        tracked.ended = true;
        resolve({ exitCode: 0, exitedAtNs: this.#deps.clock.nowNs(), reason });
      },
    };
    this.#tracked.set(id, tracked);
    void holder?.exited.then(() => {
      tracked.end("the process that held its PID namespace has ended");
    });
    for (const [kind, path] of pinEntries(pins)) {
      if (!isNamespaceMounted(path)) continue;
      this.#deps.namespaces.add(path, () => {
        tracked.end(`its ${kind} namespace was unmounted`);
      });
    }
    return tracked;
  }
}

async function setSysctls(sandbox: Sandbox, { user, net, ipc }: PinnedPaths): Promise<void> {
  const namespaces = {
    ...(net === undefined ? {} : { net }),
    ...(ipc === undefined ? {} : { ipc }),
    ...(user === undefined ? {} : { user }),
  };
  try {
    await writeSysctls(namespaces, podSysctls(sandbox.config));
  } catch (error) {
    // The name is valid, but this kernel has no such setting: nothing else is "not found" here.
    if (!isKind(error, "not-found")) throw error;
    throw new RuntimeError("invalid-argument", `set sysctls: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

async function unknownIn(directory: string, known: KnownIds): Promise<readonly string[]> {
  const entries = await readdir(directory);
  return entries.filter((entry) => !known.has(entry));
}

function pinEntries(pins: PinnedPaths): readonly (readonly [kind: string, path: string])[] {
  return Object.entries(pins) as [string, string][];
}
