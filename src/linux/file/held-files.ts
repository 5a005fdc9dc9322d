import { closeSync } from "node:fs";
import { nativeCount, nativeTexts } from "../native.ts";
import { readFiles } from "./read-files.ts";

type Texts = readonly (string | null)[];

/** How the kernel is asked. */
export interface FdCacheKernel {
  /** A descriptor for each path, -1 for one that cannot be opened. */
  readonly open: (paths: readonly string[]) => Promise<readonly number[]>;
  readonly readOpen: (descriptors: readonly number[]) => Promise<Texts>;
  readonly read: (paths: readonly string[]) => Promise<Texts>;
  readonly close: (descriptor: number) => void;
}

/** Bounds of a {@link CgroupFdCache}. */
export interface FdCacheLimits {
  /** Descriptors that are open at most; more files are opened for each reading. */
  readonly descriptors: number;
  /** Cgroups that one job reads. */
  readonly together: number;
  /** After this those of a job that does not end are read one by one. Milliseconds. */
  readonly lateMs: number;
  /**
   * After this files are opened again: one that was missing may be there by now, and one of a controller that
   * was taken away and came back is another. Milliseconds.
   */
  readonly renewMs: number;
}

/** Files of one cgroup that are read again and again. */
export interface CachedFiles {
  /** What each says, `null` for one that cannot be read, as of readFiles(). */
  read(): Promise<Texts>;
  /** Closes them, after the reading that is under way. They can be read again, and are then held again. */
  release(): void;
}

interface Held {
  readonly paths: readonly string[];
  descriptors: readonly number[] | undefined;
  openedAtMs: number;
  isBusy: boolean;
  isUnwanted: boolean;
}

interface Reading {
  readonly held: Held;
  readonly answer: PromiseWithResolvers<Texts>;
}

// An open file of cgroupfs costs the kernel some 5 KiB: 5 MiB in all, for a hundred containers and more.
const defaultLimits: FdCacheLimits = {
  descriptors: 1024,
  together: 32,
  lateMs: 250,
  renewMs: 60_000,
};

const thisKernel: FdCacheKernel = {
  open: (paths) => nativeCount("openFiles", paths),
  readOpen: (descriptors) => nativeTexts("readOpenFiles", [], descriptors),
  read: readFiles,
  close: closeSync,
};

/**
 * Reads files of cgroups that stay open: to open and close one costs ten times as much as to read it. What
 * is asked for at once is one job of the thread pool; a cgroup in it that does not answer delays the
 * others, and does not take them with it.
 */
export class CgroupFdCache {
  readonly #kernel: FdCacheKernel;
  readonly #limits: FdCacheLimits;
  #waiting: Reading[] = [];
  #open = 0;

  constructor(kernel = thisKernel, limits: Partial<FdCacheLimits> = {}) {
    this.#kernel = kernel;
    this.#limits = { ...defaultLimits, ...limits };
  }

  /** Opens nothing yet. Paths of one directory are best named one after the other. */
  hold(paths: readonly string[]): CachedFiles {
    const held: Held = {
      paths,
      descriptors: undefined,
      openedAtMs: 0,
      isBusy: false,
      isUnwanted: false,
    };
    return {
      read: () => this.#read(held),
      release: () => {
        if (held.isBusy) held.isUnwanted = true;
        else this.#close(held);
      },
    };
  }

  #read(held: Held): Promise<Texts> {
    // A reading that is stuck has the file's lock in the kernel: another opening is another lock.
    if (held.isBusy) return this.#kernel.read(held.paths);
    held.isBusy = true;
    const answer = Promise.withResolvers<Texts>();
    if (this.#waiting.push({ held, answer }) === 1) {
      queueMicrotask(() => {
        this.#begin();
      });
    }
    return answer.promise;
  }

  #begin(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const { together } = this.#limits;
    for (let from = 0; from < waiting.length; from += together) {
      void this.#readTogether(waiting.slice(from, from + together));
    }
  }

  /** Never rejects: the readings do. */
  async #readTogether(readings: readonly Reading[]): Promise<void> {
    const timer = setTimeout(() => {
      this.#readApart(readings);
    }, this.#limits.lateMs);
    try {
      const texts = await this.#texts(readings);
      for (const { held, answer } of readings) answer.resolve(texts.get(held) ?? []);
    } catch (error) {
      for (const { answer } of readings) answer.reject(error);
    } finally {
      clearTimeout(timer);
      for (const { held } of readings) {
        held.isBusy = false;
        if (held.isUnwanted) this.#close(held);
      }
    }
  }

  #readApart(readings: readonly Reading[]): void {
    if (readings.length === 1) return;
    for (const { held, answer } of readings) {
      this.#kernel.read(held.paths).then(answer.resolve, answer.reject);
    }
  }

  async #texts(readings: readonly Reading[]): Promise<ReadonlyMap<Held, Texts>> {
    const all = readings.map(({ held }) => held);
    const renewBefore = performance.now() - this.#limits.renewMs;
    for (const held of all) if (held.openedAtMs <= renewBefore) this.#close(held);
    const isOpen = (held: Held): boolean => held.descriptors !== undefined;
    const known = all.filter(isOpen);
    await this.#openAll(all.filter((held) => !isOpen(held)));
    const [texts, others] = await Promise.all([
      this.#textsOfOpen(all.filter(isOpen)),
      this.#textsByPath(all.filter((held) => !isOpen(held))),
    ]);
    // These cgroups are gone, and perhaps others have their paths by now.
    const gone = known.filter((held) => texts.get(held)?.every((text) => text === null));
    for (const held of gone) this.#close(held);
    return new Map([...texts, ...others, ...(await this.#textsByPath(gone))]);
  }

  async #openAll(wanted: readonly Held[]): Promise<void> {
    const taken: Held[] = [];
    for (const held of wanted) {
      if (this.#open + held.paths.length > this.#limits.descriptors) break;
      this.#open += held.paths.length;
      taken.push(held);
    }
    if (taken.length === 0) return;
    const paths = taken.flatMap((held) => held.paths);
    try {
      const opened = await this.#kernel.open(paths);
      const openedAtMs = performance.now();
      for (const [held, descriptors] of shares(taken, opened)) {
        Object.assign(held, { descriptors, openedAtMs });
      }
    } catch (error) {
      this.#open -= paths.length;
      throw error;
    }
  }

  async #textsOfOpen(all: readonly Held[]): Promise<ReadonlyMap<Held, Texts>> {
    if (all.length === 0) return new Map();
    const descriptors = all.flatMap((held) => held.descriptors ?? []);
    return shares(all, await this.#kernel.readOpen(descriptors));
  }

  async #textsByPath(all: readonly Held[]): Promise<ReadonlyMap<Held, Texts>> {
    if (all.length === 0) return new Map();
    return shares(all, await this.#kernel.read(all.flatMap(({ paths }) => paths)));
  }

  #close(held: Held): void {
    const { descriptors } = held;
    held.isUnwanted = false;
    if (descriptors === undefined) return;
    held.descriptors = undefined;
    this.#open -= descriptors.length;
    for (const descriptor of descriptors) if (descriptor >= 0) this.#kernel.close(descriptor);
  }
}

/** What belongs to each, of values in the order of all their paths. */
function shares<T>(all: readonly Held[], values: readonly T[]): ReadonlyMap<Held, readonly T[]> {
  let at = 0;
  return new Map(all.map((held) => [held, values.slice(at, (at += held.paths.length))]));
}
