import { type FSWatcher, watch as watchFile } from "node:fs";
import { errnoCode } from "../../base/system-error.ts";
import { closeWatch } from "../addon.ts";
import { readDescriptor, watchDescriptor, watchFor } from "../stream/native.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "./layout.ts";
import { openOomEvents } from "./native.ts";

/** A watch on the OOM events of a cgroup. Disposing of it ends it. */
export interface CgroupOomWatch extends Disposable {
  /** Reports the next event. */
  rearm(): void;
}

/**
 * Calls `onEvent` at the first event of the cgroup's memory that may mean an OOM kill in it or below it, and after each
 * rearm() at the next one. Undefined when the cgroup does not exist. Rejects where the kernel has no such events.
 *
 * v2: inotify reports each change of memory.events, also one of its count of events at the limit without a kill
 * (cgroup-v2.rst). v1: an eventfd at memory.oom_control, which the kernel signals before it kills a process because of
 * the limit of the cgroup or of one above it, and when the cgroup is removed; not when the whole host has no memory
 * left (cgroup-v1/memory.rst).
 */
export async function watchOomEvents(
  layout: CgroupLayout,
  cgroupPath: string,
  onEvent: () => void,
): Promise<CgroupOomWatch | undefined> {
  if (layout.version === "v2") {
    const [dir = ""] = cgroupDirs(layout, cgroupPath);
    return watchUnified(`${dir}/memory.events`, onEvent);
  }
  const dir = controllerDir(layout, "memory", cgroupPath);
  const descriptor = dir === undefined ? undefined : await openOomEvents(dir);
  return descriptor === undefined ? undefined : new EventfdWatch(descriptor, onEvent);
}

function watchUnified(path: string, onEvent: () => void): CgroupOomWatch | undefined {
  const watch = new FileWatch(path, onEvent);
  return watch.rearm() ? watch : undefined;
}

/** Between an event and rearm() the file is not watched, so that a container at its limit costs nothing then. */
class FileWatch implements CgroupOomWatch {
  readonly #path: string;
  readonly #onEvent: () => void;
  #watcher: FSWatcher | undefined;

  constructor(path: string, onEvent: () => void) {
    this.#path = path;
    this.#onEvent = onEvent;
  }

  /** False when the file does not exist. */
  rearm(): boolean {
    if (this.#watcher !== undefined) return true;
    try {
      this.#watcher = watchFile(this.#path, { persistent: false });
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return false;
      throw error;
    }
    this.#watcher.on("change", () => {
      this[Symbol.dispose]();
      this.#onEvent();
    });
    this.#watcher.on("error", () => this[Symbol.dispose]());
    return true;
  }

  [Symbol.dispose](): void {
    this.#watcher?.removeAllListeners("change");
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}

/** An eventfd stays readable until its counter is read. */
class EventfdWatch implements CgroupOomWatch {
  readonly #watch: ReturnType<typeof watchDescriptor>;

  /** Takes ownership of the descriptor, also when it throws. */
  constructor(descriptor: number, onEvent: () => void) {
    this.#watch = watchDescriptor(descriptor, () => {
      watchFor(this.#watch, { readable: false, writable: false });
      onEvent();
    });
    watchFor(this.#watch, { readable: true, writable: false });
  }

  rearm(): void {
    readDescriptor(this.#watch, Buffer.alloc(8));
    watchFor(this.#watch, { readable: true, writable: false });
  }

  [Symbol.dispose](): void {
    closeWatch(this.#watch);
  }
}
