import { RuntimeError, wrap } from "../../base/errors.ts";
import { beforeAbort } from "../../base/wait.ts";
import { Semaphore } from "../../base/semaphore.ts";

/** How patient {@link ClientPaths} are. */
export interface ClientPathLimits {
  /** How long a caller waits in all. Milliseconds. */
  readonly deadlineMs: number;
  /** After this a look is slow: it no longer keeps looks at other file systems waiting. Milliseconds. */
  readonly slowMs: number;
  /** Looks at once that are not slow. */
  readonly atOnce: number;
  /** Looks at once that are slow. */
  readonly slowAtOnce: number;
}

// Together fewer than the threads of the pool (UV_THREADPOOL_SIZE in bin/davit): the rest of the
// daemon needs some.
const defaultLimits: ClientPathLimits = {
  deadlineMs: 10_000,
  slowMs: 500,
  atOnce: 4,
  slowAtOnce: 8,
};

/** A look that has not been answered for a while. It holds a thread until it is. */
interface Slow {
  readonly path: string;
  readonly mountPoint: string;
  readonly settled: Promise<void>;
}

/**
 * Looks at paths that clients gave. One may lie on a server that does not answer, and then holds a
 * thread of the pool until it does, whatever becomes of the call. So a file system that is slow to
 * answer is asked nothing more before it does, whatever the clients' retries ask for; looks at
 * others go on beside it; and no caller waits longer than the deadline.
 */
export class ClientPaths {
  readonly #mountPointOf: (path: string) => Promise<string>;
  readonly #limits: ClientPathLimits;
  readonly #turns: Semaphore;
  readonly #slow = new Set<Slow>();

  /** `mountPointOf` tells which mount a path lies on, without looking at the path itself. */
  constructor(mountPointOf: (path: string) => Promise<string>, limits = defaultLimits) {
    this.#mountPointOf = mountPointOf;
    this.#limits = limits;
    this.#turns = new Semaphore(limits.atOnce);
  }

  /**
   * Does `work`, which looks at `path`. `unavailable`, naming what does not answer, after the
   * deadline; a failure of `work` is told with `doing`.
   */
  async withStallGuard<T>(path: string, doing: string, work: () => Promise<T>): Promise<T> {
    const deadline = AbortSignal.timeout(this.#limits.deadlineMs);
    const turn = await this.#enter(path, doing, deadline);
    const looking = work();
    try {
      await this.#watch(path, looking);
    } finally {
      turn[Symbol.dispose]();
    }
    try {
      return await beforeAbort(looking, deadline);
    } catch (error) {
      if (deadline.aborted) throw this.#silent(`${doing}: its file system`);
      throw wrap(doing, error);
    }
  }

  /** Waits for a turn, and for what must answer before this path may be asked for. */
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
    // By its name a path seems to lie on "/" though a symlink on the way leads elsewhere; most others
    // do lie there and must not wait for it.
    const same = all.find(
      (slow) => slow.path === path || (slow.mountPoint === mountPoint && mountPoint !== "/"),
    );
    return same ?? (all.length < this.#limits.slowAtOnce ? undefined : all[0]);
  }

  /** Resolves when the look is answered or known to be slow. */
  async #watch(path: string, looking: Promise<unknown>): Promise<void> {
    const settled = looking.then(
      () => undefined,
      () => undefined,
    );
    const { promise: late, resolve } = Promise.withResolvers<"late">();
    const timer = setTimeout(resolve, this.#limits.slowMs, "late");
    const first = await Promise.race([settled, late]);
    clearTimeout(timer);
    if (first !== "late") return;
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
