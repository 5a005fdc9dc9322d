import { closeSync } from "node:fs";
import { readFiles } from "../file/native.ts";
import { openFiles, readOpenFiles } from "./native.ts";

type Texts = readonly (string | null)[];

/** The system calls that the cache makes. */
export interface FdCacheKernel {
  /** A descriptor for each path, -1 for one that cannot be opened. */
  readonly open: (paths: readonly string[]) => Promise<readonly number[]>;
  readonly readOpen: (descriptors: readonly number[]) => Promise<Texts>;
  readonly read: (paths: readonly string[]) => Promise<Texts>;
  readonly close: (descriptor: number) => void;
}

/** Bounds of a {@link CgroupFdCache}. */
export interface FdCacheLimits {
  /** Descriptors that are open at most. Files beyond that are opened for each read. */
  readonly descriptors: number;
  /** Cgroups that one job reads. */
  readonly batchSize: number;
  /** When a job takes longer than this, its cgroups are read one by one. Milliseconds. */
  readonly lateMs: number;
  /**
   * Files are opened again after this time: a missing file may exist by then, and when a controller was disabled
   * and enabled again, its files are new ones. Milliseconds.
   */
  readonly renewMs: number;
}

/** Files of one cgroup that are read repeatedly. */
export interface CachedFiles {
  /** The content of each file, `null` for one that cannot be read, as readFiles() gives it. */
  read(): Promise<Texts>;
  /** Closes the files when the current read is over. A later read opens and caches them again. */
  release(): void;
}

interface Entry {
  readonly paths: readonly string[];
  descriptors: readonly number[] | undefined;
  openedAtMs: number;
  isBusy: boolean;
  isReleased: boolean;
}

interface PendingRead {
  readonly entry: Entry;
  readonly result: PromiseWithResolvers<Texts>;
}

// An open file of cgroupfs costs the kernel about 5 KiB: 5 MiB in all, enough for a hundred containers.
const defaultLimits: FdCacheLimits = {
  descriptors: 1024,
  batchSize: 32,
  lateMs: 250,
  renewMs: 60_000,
};

const thisKernel: FdCacheKernel = {
  open: openFiles,
  readOpen: readOpenFiles,
  read: readFiles,
  close: closeSync,
};

/**
 * Reads cgroup files through descriptors that stay open: opening and closing a file costs ten times as much as
 * reading it. Reads that are requested in one turn of the event loop become one job of the thread pool. When one
 * cgroup of a job hangs, the others are delayed by `lateMs` and then read separately.
 */
export class CgroupFdCache {
  readonly #kernel: FdCacheKernel;
  readonly #limits: FdCacheLimits;
  #pending: PendingRead[] = [];
  #openCount = 0;

  constructor(kernel = thisKernel, limits: Partial<FdCacheLimits> = {}) {
    this.#kernel = kernel;
    this.#limits = { ...defaultLimits, ...limits };
  }

  /** Adds files; the first read opens them. Paths in one directory should follow each other. */
  add(paths: readonly string[]): CachedFiles {
    const entry: Entry = {
      paths,
      descriptors: undefined,
      openedAtMs: 0,
      isBusy: false,
      isReleased: false,
    };
    return {
      read: () => this.#read(entry),
      release: () => {
        if (entry.isBusy) entry.isReleased = true;
        else this.#close(entry);
      },
    };
  }

  #read(entry: Entry): Promise<Texts> {
    // A read that hangs has the lock of its open file in the kernel. Another open file has a lock of its own.
    if (entry.isBusy) return this.#kernel.read(entry.paths);
    entry.isBusy = true;
    const result = Promise.withResolvers<Texts>();
    if (this.#pending.push({ entry, result }) === 1) {
      queueMicrotask(() => {
        this.#startPending();
      });
    }
    return result.promise;
  }

  #startPending(): void {
    const pending = this.#pending;
    this.#pending = [];
    const { batchSize } = this.#limits;
    for (let from = 0; from < pending.length; from += batchSize) {
      void this.#readBatch(pending.slice(from, from + batchSize));
    }
  }

  /** Never rejects: the results of the reads do. */
  async #readBatch(reads: readonly PendingRead[]): Promise<void> {
    const timer = setTimeout(() => {
      this.#readSeparately(reads);
    }, this.#limits.lateMs);
    try {
      const texts = await this.#texts(reads);
      for (const { entry, result } of reads) result.resolve(texts.get(entry) ?? []);
    } catch (error) {
      for (const { result } of reads) result.reject(error);
    } finally {
      clearTimeout(timer);
      for (const { entry } of reads) {
        entry.isBusy = false;
        if (entry.isReleased) this.#close(entry);
      }
    }
  }

  #readSeparately(reads: readonly PendingRead[]): void {
    if (reads.length === 1) return;
    for (const { entry, result } of reads) {
      this.#kernel.read(entry.paths).then(result.resolve, result.reject);
    }
  }

  async #texts(reads: readonly PendingRead[]): Promise<ReadonlyMap<Entry, Texts>> {
    const all = reads.map(({ entry }) => entry);
    const renewBefore = performance.now() - this.#limits.renewMs;
    for (const entry of all) if (entry.openedAtMs <= renewBefore) this.#close(entry);
    const isOpen = (entry: Entry): boolean => entry.descriptors !== undefined;
    const cached = all.filter(isOpen);
    await this.#openAll(all.filter((entry) => !isOpen(entry)));
    const [texts, others] = await Promise.all([
      this.#textsOfOpen(all.filter(isOpen)),
      this.#textsByPath(all.filter((entry) => !isOpen(entry))),
    ]);
    // These cgroups are gone. New ones may have their paths by now, so read them by path.
    const gone = cached.filter((entry) => texts.get(entry)?.every((text) => text === null));
    for (const entry of gone) this.#close(entry);
    return new Map([...texts, ...others, ...(await this.#textsByPath(gone))]);
  }

  async #openAll(closed: readonly Entry[]): Promise<void> {
    const opening: Entry[] = [];
    for (const entry of closed) {
      if (this.#openCount + entry.paths.length > this.#limits.descriptors) break;
      this.#openCount += entry.paths.length;
      opening.push(entry);
    }
    if (opening.length === 0) return;
    const paths = opening.flatMap((entry) => entry.paths);
    try {
      const opened = await this.#kernel.open(paths);
      const openedAtMs = performance.now();
      for (const [entry, descriptors] of valuesByEntry(opening, opened)) {
        Object.assign(entry, { descriptors, openedAtMs });
      }
    } catch (error) {
      this.#openCount -= paths.length;
      throw error;
    }
  }

  async #textsOfOpen(all: readonly Entry[]): Promise<ReadonlyMap<Entry, Texts>> {
    if (all.length === 0) return new Map();
    const descriptors = all.flatMap((entry) => entry.descriptors ?? []);
    return valuesByEntry(all, await this.#kernel.readOpen(descriptors));
  }

  async #textsByPath(all: readonly Entry[]): Promise<ReadonlyMap<Entry, Texts>> {
    if (all.length === 0) return new Map();
    return valuesByEntry(all, await this.#kernel.read(all.flatMap(({ paths }) => paths)));
  }

  #close(entry: Entry): void {
    const { descriptors } = entry;
    entry.isReleased = false;
    if (descriptors === undefined) return;
    entry.descriptors = undefined;
    this.#openCount -= descriptors.length;
    for (const descriptor of descriptors) if (descriptor >= 0) this.#kernel.close(descriptor);
  }
}

/** Splits values, in the order of all paths, among the entries. */
function valuesByEntry<T>(
  all: readonly Entry[],
  values: readonly T[],
): ReadonlyMap<Entry, readonly T[]> {
  let at = 0;
  return new Map(all.map((entry) => [entry, values.slice(at, (at += entry.paths.length))]));
}
