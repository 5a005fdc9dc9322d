import { isNamespaceMounted } from "./namespaces.ts";
import { watchMounts } from "../mount/mounts.ts";

// Every start of a pod changes the mount table several times; one look serves them all.
const settleMs = 200;
const fullCheckMs = 10_000;

/**
 * Knows of each watched path whether it is a namespace mount, without looking when asked.
 *
 * The kernel says that the mount table changed (poll on /proc/self/mountinfo, proc(5)); then, and
 * every 10 s in any case, each path is looked at. Looking never changes anything.
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

  /** Watches `path`, which is a namespace mount now. `onClosed` is called once if it ceases to be one. */
  add(path: string, onClosed: () => void): void {
    this.#open.set(path, onClosed);
  }

  /** Forgets `path`: it counts as closed from now on, and nobody is told. */
  delete(path: string): void {
    this.#open.delete(path);
  }

  /** True while `path` is watched and was a namespace mount when last looked at. */
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

/** What cannot be looked at now (EIO, say) is as it was; the next look comes soon. */
function isStillMounted(path: string): boolean {
  try {
    return isNamespaceMounted(path);
  } catch {
    return true;
  }
}
