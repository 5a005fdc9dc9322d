import { KeyedLock } from "../../base/keyed-lock.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { ContainerStore } from "../../core/container/index.ts";
import { type Sandbox, type SandboxStore, usesHostNetwork } from "../../core/sandbox/index.ts";

/** What the kernel is asked for a pod's network. */
export interface NetworkHost {
  /** True when the process is in the network namespace that is pinned at `netnsPath`. */
  readonly isInNetwork: (pid: number, netnsPath: string) => Promise<boolean>;
  /**
   * Makes the empty cgroup `<pod's cgroup>/<sandbox id>` again, even if it exists. False when it cannot exist:
   * the pod's own cgroup is gone, or processes are in it.
   */
  readonly remakeCgroup: (sandbox: Sandbox) => Promise<boolean>;
  /** Removes it if it is empty. Not an error when it does not exist. */
  readonly removeCgroup: (sandbox: Sandbox) => Promise<void>;
}

/**
 * How long a pod must have run before its cgroup is made. Milliseconds. Making it changes up to a dozen hierarchies of
 * cgroup v1 under the kernel's lock for cgroups, for which the start of a container waits as well.
 */
const defaultDelayMs = 1_000;

interface Shown {
  readonly pid: number;
  /** The cgroup was made here, and is removed with the process. */
  readonly hasCgroup: boolean;
}

/**
 * Shows the network of pods to cAdvisor.
 *
 * cAdvisor reads a pod's network through one process of a cgroup that is named after the sandbox, and asks
 * for its pid only when that cgroup appears. A pod of davit has such a process only if it has a holder. For the
 * others this makes an empty cgroup with that name, and gives the pid of the first running container. When
 * that container ends, the cgroup is made again with the pid of the next one; without one there is
 * none. So a pid that another process may have got since is never read. A pod that starts is shown after a
 * second, so that it does not slow down the start.
 */
export class PodNetworks implements Disposable {
  readonly #sandboxes: Pick<SandboxStore, "peek" | "listed" | "listen">;
  readonly #containers: Pick<ContainerStore, "listedOf" | "listen">;
  readonly #host: NetworkHost;
  readonly #tasks: TaskGroup;
  readonly #shown = new Map<string, Shown>();
  readonly #delayMs: number;
  /** The pods that will be shown. */
  readonly #timers = new Map<string, NodeJS.Timeout>();
  readonly #locks = new KeyedLock();
  readonly #listeners = new DisposableStack();
  /** Set by clear(): no cgroup is made any more. */
  #isOver = false;

  constructor(deps: {
    readonly sandboxes: Pick<SandboxStore, "peek" | "listed" | "listen">;
    readonly containers: Pick<ContainerStore, "listedOf" | "listen">;
    readonly host: NetworkHost;
    readonly tasks: TaskGroup;
    /** How long a pod must have run before it is shown, in milliseconds; 1 s if not given. */
    readonly delayMs?: number;
  }) {
    this.#sandboxes = deps.sandboxes;
    this.#containers = deps.containers;
    this.#host = deps.host;
    this.#tasks = deps.tasks;
    this.#delayMs = deps.delayMs ?? defaultDelayMs;
  }

  /** Shows the pods that run now, and follows all changes until it is disposed of. */
  begin(): void {
    this.#listeners.use(this.#sandboxes.listen((sandbox) => this.#follow(sandbox)));
    this.#listeners.use(
      this.#containers.listen(({ sandboxId, state }) => {
        const sandbox = this.#sandboxes.peek(sandboxId);
        if (sandbox !== undefined && state.name !== "created") this.#follow(sandbox);
      }),
    );
    for (const sandbox of this.#sandboxes.listed()) this.#follow(sandbox);
  }

  /** The process that shows the network of the sandbox. */
  pidOf(sandboxId: string): number | undefined {
    const sandbox = this.#sandboxes.peek(sandboxId);
    return (sandbox && holderOf(sandbox)) ?? this.#shown.get(sandboxId)?.pid;
  }

  /** Stops following. The cgroups stay: the pods continue, and the next daemon makes them again. */
  [Symbol.dispose](): void {
    this.#listeners.dispose();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  /** Removes the cgroups that were made here. Follow no more changes first. */
  async clear(): Promise<void> {
    this.#isOver = true;
    for (const id of [...this.#shown.keys()]) {
      // A change that is being made ends first.
      using _turn = await this.#locks.acquire(id, this.#tasks.signal);
      const sandbox = this.#sandboxes.peek(id);
      const hasCgroup = this.#shown.get(id)?.hasCgroup === true;
      this.#shown.delete(id);
      // One that has processes is not ours.
      if (hasCgroup && sandbox !== undefined) {
        await this.#host.removeCgroup(sandbox).catch(() => undefined);
      }
    }
  }

  #follow(sandbox: Sandbox): void {
    if (usesHostNetwork(sandbox.config) || holderOf(sandbox) !== undefined) return;
    const { id } = sandbox;
    const shown = this.#shown.get(id);
    // Most changes of a pod do not change the process.
    if (shown !== undefined && isReady(sandbox) && this.#pids(sandbox).includes(shown.pid)) return;
    const isIdle = shown === undefined && !this.#locks.isHeld(id);
    if (isIdle && this.#pids(sandbox).length === 0) return;
    if (isIdle && this.#delayMs > 0) this.#followLater(id);
    else this.#followNow(sandbox);
  }

  /** Shows the pod if it still runs after the delay. */
  #followLater(id: string): void {
    if (this.#timers.has(id)) return;
    const timer = setTimeout(() => {
      this.#timers.delete(id);
      const sandbox = this.#sandboxes.peek(id);
      if (sandbox !== undefined) this.#followNow(sandbox);
    }, this.#delayMs);
    this.#timers.set(id, timer.unref());
  }

  #followNow(sandbox: Sandbox): void {
    const { id } = sandbox;
    this.#tasks.spawn(`show the network of sandbox ${id} to cAdvisor`, async (signal) => {
      using _turn = await this.#locks.acquire(id, signal);
      // A removed one is not in the store.
      await this.#update(this.#sandboxes.peek(id) ?? { ...sandbox, state: gone });
    });
  }

  async #update(sandbox: Sandbox): Promise<void> {
    const before = this.#shown.get(sandbox.id);
    const pids = isReady(sandbox) ? this.#pids(sandbox) : [];
    if (before !== undefined && pids.includes(before.pid)) return;
    this.#shown.delete(sandbox.id);
    const pid = await this.#firstInNetwork(sandbox, pids);
    if (pid === undefined) {
      if (before?.hasCgroup === true) await this.#host.removeCgroup(sandbox);
      return;
    }
    // Checked again after the wait; what follows begins at once, so clear() sees it.
    if (this.#isOver) return;
    // cAdvisor asks as soon as the cgroup exists.
    this.#shown.set(sandbox.id, { pid, hasCgroup: true });
    if (!(await this.#host.remakeCgroup(sandbox))) {
      this.#shown.set(sandbox.id, { pid, hasCgroup: false });
    }
  }

  async #firstInNetwork(
    { netnsPath }: Sandbox,
    pids: readonly number[],
  ): Promise<number | undefined> {
    if (netnsPath === undefined) return undefined;
    for (const pid of pids) {
      if (await this.#host.isInNetwork(pid, netnsPath)) return pid;
    }
    return undefined;
  }

  /** The processes of the running containers, the oldest container first. */
  #pids({ id }: Sandbox): readonly number[] {
    return [...this.#containers.listedOf(id)].flatMap(({ state }) =>
      state.name === "running" ? [state.process.pid] : [],
    );
  }
}

const gone = { name: "stopped", atNs: 0n } as const;

function isReady({ state }: Sandbox): boolean {
  return state.name === "ready";
}

/** The pid of a holder. It has a cgroup of its own, with the right name, and lives as long as the pod. */
function holderOf({ handler, process, state }: Sandbox): number | undefined {
  const hasHolder = handler.controller === "podsandbox" && state.name === "ready";
  return hasHolder ? process?.pid : undefined;
}
