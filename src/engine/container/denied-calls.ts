import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Container, ContainerStore } from "../../core/container/index.ts";
import type { OciSpec } from "../../core/oci/index.ts";
import type { SandboxStore } from "../../core/sandbox/index.ts";
import { askedNotifier } from "../../oci-spec/index.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

/** From the first denied call to the stop of a container: its other ones are reported as well. As with CRI-O. */
const stopMs = 5_000;
/** Numbers without a name that are told apart, of one container: it chooses them, and there are 2^32. */
const maxNumbers = 16;
/** All others, and in the totals all of them. */
const unknown = "unknown";
/** The longest message of a status. */
const longestMessage = 1_000;

interface Entry {
  /** By the name of the call, of which the kernel has few; by "#NUMBER" for some of those without a name. */
  readonly counts: Map<string, number>;
  timer: NodeJS.Timeout | undefined;
  isStopped: boolean;
}

interface Deps {
  readonly store: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly log: Logger;
  /** Ends a container at once. */
  readonly stop: (id: string) => Promise<void>;
  /** The spec that a container was started with; undefined if it cannot be read. */
  readonly startedSpec: (container: Container) => Promise<OciSpec | undefined>;
}

/**
 * The system calls that seccomp filters denied to containers with the notifier. The first call of each name is in
 * the log; all are counted. "stop" ends the container a moment after its first one. That moment is not prolonged by
 * later calls: a container must not choose how long it lives.
 */
export class DeniedCalls implements Disposable {
  readonly #deps: Deps;
  readonly #entries = new Map<string, Entry>();
  readonly #totals = new Map<string, number>();
  readonly #listening: Disposable;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#listening = deps.store.listen((container, change) => {
      const { id, state } = container;
      if (change === "listed" && state.name === "running") void this.#noteLost(container);
      if (change === "removed" || state.name === "exited") this.#clear(id);
      if (change === "removed") this.#entries.delete(id);
    });
  }

  /** Counts a denied call of a container, which may not be recorded as running yet. */
  add(id: string, syscall: string, action: "log" | "stop"): void {
    const total = isNumber(syscall) ? unknown : syscall;
    this.#totals.set(total, (this.#totals.get(total) ?? 0) + 1);
    const container = this.#deps.store.peek(id);
    if (container === undefined || container.state.name === "exited") return;
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      entry = { counts: new Map(), timer: undefined, isStopped: false };
      this.#entries.set(id, entry);
    }
    const name = nameIn(entry.counts, syscall);
    const count = (entry.counts.get(name) ?? 0) + 1;
    entry.counts.set(name, count);
    if (count > 1) return;
    const subject = containerSubject(container, this.#deps.sandboxes);
    this.#deps.log.warn("the seccomp filter denied a system call", { ...subject, syscall: name });
    if (action === "stop") entry.timer ??= this.#stopLater(id, entry);
  }

  /** The calls of a container and how often each was denied, by name; undefined without one. */
  of(id: string): Readonly<Record<string, number>> | undefined {
    const counts = this.#entries.get(id)?.counts;
    return counts === undefined ? undefined : Object.fromEntries(byName(counts));
  }

  /** The message of a container that was stopped for its calls; undefined for any other. As of CRI-O. */
  stopped(id: string): string | undefined {
    const entry = this.#entries.get(id);
    if (entry?.isStopped !== true) return undefined;
    const used = byName(entry.counts).map(([name, count]) => `${name} (${count}x)`);
    return `Used forbidden syscalls: ${used.join(", ")}`.slice(0, longestMessage);
  }

  /** The denied calls of all containers since the start of the daemon, by name. */
  get totals(): ReadonlyMap<string, number> {
    return this.#totals;
  }

  /**
   * The kernel has no listener any more for the filter of a container that an earlier daemon started. Its spec says
   * whether it had one: the handler may not pass on the annotation, and the container may have no filter.
   */
  async #noteLost(container: Container): Promise<void> {
    const sandbox = this.#deps.sandboxes.peek(container.sandboxId);
    const annotations = { ...sandbox?.config.annotations, ...container.config.annotations };
    if (askedNotifier(annotations) === undefined) return;
    const spec = await this.#deps.startedSpec(container).catch(() => undefined);
    if (spec?.linux.seccomp?.listenerPath === undefined) return;
    this.#deps.log.warn(
      "denied system calls of a container that asks for the seccomp notifier fail with ENOSYS and are not reported, because davit was restarted; recreate it",
      containerSubject(container, this.#deps.sandboxes),
    );
  }

  #stopLater(id: string, entry: Entry): NodeJS.Timeout {
    const { stop, log, store, sandboxes } = this.#deps;
    return setTimeout(() => {
      const container = store.peek(id);
      if (container === undefined || container.state.name === "exited") return;
      if (container.state.name !== "running") {
        // Its start is not recorded yet, for example because it waits for a plugin.
        entry.timer = this.#stopLater(id, entry);
        return;
      }
      const subject = containerSubject(container, sandboxes);
      entry.isStopped = true;
      log.warn("stopping a container for its denied system calls", {
        ...subject,
        syscalls: byName(entry.counts).map(([name]) => name),
      });
      stop(id).catch((error: unknown) => {
        log.error("failed to stop a container", { ...subject, error: messageOf(error) });
      });
    }, stopMs).unref();
  }

  #clear(id: string): void {
    clearTimeout(this.#entries.get(id)?.timer);
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
    for (const id of this.#entries.keys()) this.#clear(id);
  }
}

function isNumber(syscall: string): boolean {
  return syscall.startsWith("#");
}

/** What a call is counted as. */
function nameIn(counts: ReadonlyMap<string, number>, syscall: string): string {
  if (!isNumber(syscall) || counts.has(syscall)) return syscall;
  return [...counts.keys()].filter(isNumber).length < maxNumbers ? syscall : unknown;
}

function byName(counts: ReadonlyMap<string, number>): readonly (readonly [string, number])[] {
  return [...counts].toSorted(([one], [other]) => (one < other ? -1 : 1));
}
