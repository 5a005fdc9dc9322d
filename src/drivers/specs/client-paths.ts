import { RuntimeError, wrap } from "../../base/errors.ts";
import { beforeAbort } from "../../base/rollback.ts";
import { Semaphore } from "../../base/semaphore.ts";

/** How long a path may take to answer, and how many may be asked for at once. */
export interface ClientPathLimits {
  readonly deadlineMs: number;
  readonly atOnce: number;
}

// Half of the threads of the pool (UV_THREADPOOL_SIZE in bin/davit): the rest of the daemon needs some.
const defaultLimits: ClientPathLimits = { deadlineMs: 10_000, atOnce: 8 };

/**
 * Looks at paths that clients gave. One may lie on a server that does not answer, and then holds a
 * thread of the pool until it does, whatever becomes of the call. So only a few are looked at at
 * once, nobody waits longer than the deadline, and a path that did not answer is not asked again
 * before it does: the retries of a client must not take thread after thread.
 */
export class ClientPaths {
  readonly #limits: ClientPathLimits;
  readonly #turns: Semaphore;
  readonly #stuck = new Map<string, Date>();

  constructor(limits: ClientPathLimits = defaultLimits) {
    this.#limits = limits;
    this.#turns = new Semaphore(limits.atOnce);
  }

  /**
   * Does `work`, which looks at `path`. `unavailable`, naming the path, when that does not answer
   * in time, or when too many others do not; a failure of `work` is told with `doing`.
   */
  async look<T>(path: string, doing: string, work: () => Promise<T>): Promise<T> {
    const since = this.#stuck.get(path);
    if (since !== undefined) throw silent(doing, `since ${since.toISOString()}`);
    const deadline = AbortSignal.timeout(this.#limits.deadlineMs);
    const turn = await this.#turn(doing, deadline);
    const looking = work().finally(() => {
      turn[Symbol.dispose]();
      this.#stuck.delete(path);
    });
    try {
      return await beforeAbort(looking, deadline);
    } catch (error) {
      if (!deadline.aborted) throw wrap(doing, error);
      this.#stuck.set(path, new Date(Date.now() - this.#limits.deadlineMs));
      // It may have answered in this very moment.
      void looking.then(
        () => this.#stuck.delete(path),
        () => this.#stuck.delete(path),
      );
      throw silent(doing, `for ${this.#limits.deadlineMs / 1000} s`);
    }
  }

  async #turn(doing: string, deadline: AbortSignal): Promise<Disposable> {
    try {
      return await this.#turns.acquire(deadline);
    } catch {
      const paths = [...this.#stuck.keys()].map((path) => `"${path}"`).join(", ");
      throw new RuntimeError(
        "unavailable",
        `${doing}: the file systems of ${this.#limits.atOnce} other paths do not answer (${paths}); ` +
          "mend their servers or unmount them",
      );
    }
  }
}

function silent(doing: string, howLong: string): RuntimeError {
  return new RuntimeError(
    "unavailable",
    `${doing}: its file system has not answered ${howLong}; mend its server or unmount it`,
  );
}
