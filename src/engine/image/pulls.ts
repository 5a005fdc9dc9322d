import type { Digest } from "../../base/digest.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { PodName } from "../../core/operation/index.ts";

/** More pods of one pull are not recorded: the names of an image that all pods of a node start with are worth no more. */
const maxPods = 16;

interface Pull<T> {
  readonly done: Promise<T>;
  readonly abort: AbortController;
  /** The pods that its callers need it for. */
  readonly pods: PodName[];
  waiters: number;
}

/** Work that several callers wait for. `pods` grows while callers join. */
type Work<T> = (signal: AbortSignal, pods: readonly PodName[]) => Promise<T>;

/**
 * Deduplicates work: equal pulls and equal layers run once at a time. Work is aborted when its last
 * caller is gone.
 */
export class Pulls {
  readonly #running = new Map<string, Pull<unknown>>();
  readonly #claims = new Set<readonly Digest[]>();
  readonly #tasks: TaskGroup;

  constructor(tasks: TaskGroup) {
    this.#tasks = tasks;
  }

  /**
   * Joins the running work for `key`, or starts `work`, and returns its result. Rejects with the reason
   * of `caller` when that is aborted first; the work continues for the other callers. `pod` is the one that the caller
   * needs it for, if it named one.
   */
  async join<T>(key: string, caller: AbortSignal, work: Work<T>, pod?: PodName): Promise<T> {
    caller.throwIfAborted();
    const pull = (this.#running.get(key) as Pull<T> | undefined) ?? this.#begin(key, work);
    pull.waiters++;
    if (pod !== undefined) addPod(pull.pods, pod);
    try {
      return await beforeAbort(pull.done, caller);
    } finally {
      pull.waiters--;
      if (pull.waiters === 0) pull.abort.abort(caller.reason);
    }
  }

  /** Keeps these layers from being removed as unused, until the result is disposed of. */
  claim(layers: readonly Digest[]): Disposable {
    const claim = [...layers];
    this.#claims.add(claim);
    return { [Symbol.dispose]: () => this.#claims.delete(claim) };
  }

  /** The layers that pulls in progress have claimed, of each pull lowest first. */
  claimedChains(): Iterable<readonly Digest[]> {
    return this.#claims;
  }

  #begin<T>(key: string, work: Work<T>): Pull<T> {
    const abort = new AbortController();
    const { promise: done, resolve, reject } = Promise.withResolvers<T>();
    done.catch(() => undefined); // the callers that wait get the failure
    const pull: Pull<T> = { done, abort, pods: [], waiters: 0 };
    this.#running.set(key, pull);
    // The name appears in the log. It does not have the key, which may contain credentials.
    this.#tasks.spawn("pull", async (closing) => {
      try {
        resolve(await work(AbortSignal.any([abort.signal, closing]), pull.pods));
      } catch (error) {
        reject(error);
      } finally {
        if (this.#running.get(key) === pull) this.#running.delete(key);
      }
    });
    // The next caller must not join a pull that is being aborted.
    abort.signal.addEventListener("abort", () => {
      if (this.#running.get(key) === pull) this.#running.delete(key);
    });
    return pull;
  }
}

function addPod(pods: PodName[], pod: PodName): void {
  if (pods.length < maxPods && pods.every(({ uid }) => uid !== pod.uid)) pods.push(pod);
}
