import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type {
  Container,
  ContainerStore,
  OomEvents,
  OomKillCount,
  OomWatch,
} from "../../core/container/index.ts";
import type { SandboxStore } from "../../core/sandbox/index.ts";
import type { NodeEvent } from "../events/node-event.ts";
import { containerSubject } from "../lifecycle/subjects.ts";

/** How long after its start a container is first checked: the start does not wait, and short ones cost nothing. */
const firstMs = 1_000;

/** From an event to the read of the count, which may follow the event. Kills of this time are one line of the log. */
const gatherMs = 1_000;

/** The longest such time. It doubles with each event without a kill: a container at its limit may have 100 a second. */
const longestMs = 32_000;

/** Of a process that SIGKILL ended. */
const killedExitCode = 137;

interface Entry {
  readonly cgroupPath: string;
  /** Undefined until the first check of a container that an earlier daemon started. */
  count: number | undefined;
  lastMs: number | undefined;
  waitMs: number;
  lookedMs: number;
  /** The kernel has reported an event since the count was read. */
  isEventNew: boolean;
  timer: NodeJS.Timeout | undefined;
  watch: OomWatch | undefined;
  isOver: boolean;
}

interface Deps {
  readonly events: OomEvents;
  readonly store: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly clock: Pick<Clock, "nowMs">;
  /** Told about kills in a container that continues to run, and about a container that ended by one. */
  readonly onEvent: (event: NodeEvent) => void;
  readonly log: Logger;
}

/**
 * Notices when the kernel kills a process of a container that continues to run, for its memory limit or another one:
 * nobody else reports that. The kernel reports it, so nothing is polled.
 */
export class OomKills implements Disposable {
  readonly #deps: Deps;
  readonly #entries = new Map<string, Entry>();
  readonly #listening: Disposable;
  #total = 0;

  constructor(deps: Deps) {
    this.#deps = deps;
    this.#listening = deps.store.listen((container, change, before) => {
      const { id, state } = container;
      if (change === "removed") {
        this.#end(id);
        this.#entries.delete(id);
      } else if (state.name !== "running") {
        if (before?.state.name === "running") this.#ended(container);
        this.#end(id);
      } else if (before?.state.name !== "running" && !this.#entries.has(id)) {
        this.#begin(container, change === "listed");
      }
    });
  }

  /** The kills in a container; undefined if there are none. They are forgotten with the container. */
  of(id: string): OomKillCount | undefined {
    const { count = 0, lastMs } = this.#entries.get(id) ?? {};
    if (count === 0) return undefined;
    return lastMs === undefined ? { count } : { count, lastMs };
  }

  /** The kills in all containers since the start of the daemon. */
  get total(): number {
    return this.#total;
  }

  #begin({ id, cgroupPath }: Container, isRecovered: boolean): void {
    const entry: Entry = {
      cgroupPath,
      count: isRecovered ? undefined : 0,
      lastMs: undefined,
      waitMs: gatherMs,
      lookedMs: 0,
      isEventNew: false,
      timer: undefined,
      watch: undefined,
      isOver: false,
    };
    this.#entries.set(id, entry);
    this.#lookIn(firstMs, id, entry);
  }

  #lookIn(ms: number, id: string, entry: Entry): void {
    entry.timer = setTimeout(() => {
      this.#look(id, entry).catch((error: unknown) => {
        const text = `cannot watch the OOM kills of container "${id}": ${messageOf(error)}`;
        this.#deps.log.debug(text, { container: id });
      });
    }, ms).unref();
  }

  /** The watch is on before the count is read, so that no kill is missed between. */
  async #look(id: string, entry: Entry): Promise<void> {
    const { events, clock } = this.#deps;
    const isFirst = entry.watch === undefined;
    if (isFirst) {
      const watch = await events.watch(entry.cgroupPath, () => {
        entry.isEventNew = true;
        if (clock.nowMs() - entry.lookedMs > longestMs) entry.waitMs = gatherMs;
        this.#lookIn(entry.waitMs, id, entry);
      });
      if (entry.isOver) watch?.[Symbol.dispose]();
      else entry.watch = watch;
    } else {
      entry.watch?.rearm();
    }
    entry.isEventNew = false;
    const count = await events.count(entry.cgroupPath);
    if (count === undefined || entry.isOver) return;
    const kills = count - (entry.count ?? count);
    entry.count = count;
    entry.lookedMs = clock.nowMs();
    entry.waitMs = kills > 0 || isFirst ? gatherMs : Math.min(longestMs, 2 * entry.waitMs);
    if (kills > 0) this.#report(id, entry, kills);
  }

  #report(id: string, entry: Entry, kills: number): void {
    const { store, sandboxes, clock, onEvent, log } = this.#deps;
    this.#total += kills;
    entry.lastMs = clock.nowMs();
    const container = store.peek(id);
    if (container === undefined) return;
    onEvent({ kind: "oom-killed", containerId: id, sandboxId: container.sandboxId });
    log.warn("the OOM killer killed processes of a container", {
      ...containerSubject(container, sandboxes),
      kills,
      killsInAll: entry.count,
    });
  }

  /**
   * A kill ends most containers. The reason of the end may be a kill that was reported before: then only one that the
   * kernel has reported since can have ended it.
   */
  #ended({ id, sandboxId, state }: Container): void {
    if (state.name !== "exited" || state.reason !== "OOMKilled") return;
    const { count = 0, isEventNew = false } = this.#entries.get(id) ?? {};
    const isNew = count === 0 || (isEventNew && state.exitCode === killedExitCode);
    if (isNew) this.#deps.onEvent({ kind: "oom-killed", containerId: id, sandboxId });
  }

  /** Ends the watch; the count remains. */
  #end(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.isOver) return;
    entry.isOver = true;
    clearTimeout(entry.timer);
    entry.watch?.[Symbol.dispose]();
    entry.watch = undefined;
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
    for (const id of this.#entries.keys()) this.#end(id);
  }
}
