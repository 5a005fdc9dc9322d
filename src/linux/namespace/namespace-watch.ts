import { isNamespaceMounted } from "./namespaces.ts";
import { watchMounts } from "../mount/mounts.ts";

// Every start of a pod changes the mount table several times; one check is enough for all of them.
const settleMs = 200;
const fullCheckMs = 10_000;

/**
 * Knows for each watched path whether it is a namespace mount, without a system call when asked.
 *
 * The kernel reports changes of the mount table (poll on /proc/self/mountinfo, proc(5)). After a change, and
 * every 10 s in any case, each path is checked. A check never changes anything.
 */
export class NamespaceWatch implements Disposable {
  readonly #open = new Map<string, () => void>();
  readonly #mounts: Disposable;
  readonly #interval: NodeJS.Timeout;
  #settling: NodeJS.Timeout | undefined;

  constructor() {
    this.#mounts = watchMounts(() => {
      this.#settling ??= setTimeout(() => {
        this.#settling = undefined;
        this.#check();
      }, settleMs).unref();
    });
    this.#interval = setInterval(() => {
      this.#check();
    }, fullCheckMs).unref();
  }

  /** Watches `path`, which is a namespace mount now. `onClosed` is called once when it no longer is one. */
  add(path: string, onClosed: () => void): void {
    this.#open.set(path, onClosed);
  }

  /** Stops watching `path`: it counts as closed from now on, without a call of `onClosed`. */
  delete(path: string): void {
    this.#open.delete(path);
  }

  /** True while `path` is watched and was a namespace mount at the last check. */
  isOpen(path: string): boolean {
    return this.#open.has(path);
  }

  #check(): void {
    for (const [path, onClosed] of this.#open) {
      if (isStillMounted(path)) continue;
      this.#open.delete(path);
      onClosed();
    }
  }

  [Symbol.dispose](): void {
    this.#mounts[Symbol.dispose]();
    clearInterval(this.#interval);
    clearTimeout(this.#settling);
    this.#open.clear();
  }
}

/** A path that cannot be checked now (EIO, for example) counts as mounted; the next check comes soon. */
function isStillMounted(path: string): boolean {
  try {
    return isNamespaceMounted(path);
  } catch {
    return true;
  }
}
