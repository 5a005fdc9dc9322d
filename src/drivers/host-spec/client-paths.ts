import { RuntimeError, wrap } from "../../base/errors.ts";
import { beforeAbort, within } from "../../base/wait.ts";
import { Semaphore } from "../../base/semaphore.ts";

/** Limits of {@link ClientPaths}. */
interface ClientPathLimits {
  /** How long a caller waits in total. Milliseconds. */
  readonly deadlineMs: number;
  /** After this an access is slow: it no longer blocks accesses to other file systems. Milliseconds. */
  readonly slowMs: number;
  /** Parallel accesses that are not slow. */
  readonly atOnce: number;
  /** Parallel accesses that are slow. */
  readonly slowAtOnce: number;
}

// Together fewer than the threads of the pool (UV_THREADPOOL_SIZE in bin/davit): the rest of the daemon
// needs some.
const defaultLimits: ClientPathLimits = {
  deadlineMs: 10_000,
  slowMs: 500,
  atOnce: 4,
  slowAtOnce: 8,
};

/** An access that has not been answered for a while. It holds a thread until it is. */
interface Slow {
  readonly path: string;
  readonly mountPoint: string;
  readonly settled: Promise<void>;
}

/**
 * Accesses to paths of clients. A path may be on a server that does not answer: then the access holds a
 * thread of the pool until it does, even if the call has ended. So a slow file system is not accessed again
 * before it answers, also by retries of clients; accesses to others continue; and no caller waits longer
 * than the deadline.
 */
export class ClientPaths {
  readonly #mountPointOf: (path: string) => Promise<string>;
  readonly #limits: ClientPathLimits;
  readonly #turns: Semaphore;
  readonly #slow = new Set<Slow>();

  /** `mountPointOf` returns the mount that a path is on, without accessing the path itself. */
  constructor(mountPointOf: (path: string) => Promise<string>, limits = defaultLimits) {
    this.#mountPointOf = mountPointOf;
    this.#limits = limits;
    this.#turns = new Semaphore(limits.atOnce);
  }

  /**
   * Runs `work`, which accesses `path`. `unavailable` after the deadline, naming what does not answer; a
   * failure of `work` is wrapped with `doing`.
   */
  async withStallGuard<T>(path: string, doing: string, work: () => Promise<T>): Promise<T> {
    const deadline = AbortSignal.timeout(this.#limits.deadlineMs);
    const turn = await this.#enter(path, doing, deadline);
    const access = work();
    try {
      await this.#watch(path, access);
    } finally {
      turn[Symbol.dispose]();
    }
    try {
      return await beforeAbort(access, deadline);
    } catch (error) {
      if (deadline.aborted) throw this.#silent(`${doing}: its file system`);
      throw wrap(doing, error);
    }
  }

  /** Waits for a turn, and for slow accesses that block this path. */
  async #enter(path: string, doing: string, deadline: AbortSignal): Promise<Disposable> {
    let blocker: Slow | undefined;
    try {
      for (;;) {
        const turn = await this.#turns.acquire(deadline);
        try {
          blocker = await this.#blocker(path);
        } catch (error) {
          turn[Symbol.dispose]();
          throw error;
        }
        if (blocker === undefined) return turn;
        turn[Symbol.dispose]();
        await beforeAbort(blocker.settled, deadline);
      }
    } catch {
      const mounted = blocker === undefined ? "" : ` mounted at "${blocker.mountPoint}"`;
      throw this.#silent(`${doing}: the file system${mounted}`);
    }
  }

  async #blocker(path: string): Promise<Slow | undefined> {
    if (this.#slow.size === 0) return undefined;
    const mountPoint = await this.#mountPointOf(path);
    const all = [...this.#slow];
    // A path seems to be on "/" where a symlink in it leads elsewhere; most others are on "/" and must
    // not wait for it.
    const same = all.find(
      (slow) => slow.path === path || (slow.mountPoint === mountPoint && mountPoint !== "/"),
    );
    return same ?? (all.length < this.#limits.slowAtOnce ? undefined : all[0]);
  }

  /** Resolves when the access is answered or known to be slow. */
  async #watch(path: string, access: Promise<unknown>): Promise<void> {
    const settled = access.then(
      () => undefined,
      () => undefined,
    );
    if (await within(settled, this.#limits.slowMs)) return;
    const slow = { path, mountPoint: await this.#mountPointOf(path), settled };
    this.#slow.add(slow);
    void settled.then(() => this.#slow.delete(slow));
  }

  #silent(what: string): RuntimeError {
    return new RuntimeError(
      "unavailable",
      `${what} has not answered for ${this.#limits.deadlineMs / 1000} s; fix its server or unmount it`,
    );
  }
}
