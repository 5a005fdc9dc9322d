import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CgroupFdCache, type FdCacheKernel, type FdCacheLimits } from "./fd-cache.ts";

/** A kernel whose files contain their own paths. Records the calls. */
class Kernel implements FdCacheKernel {
  readonly calls: string[] = [];
  /** Paths by descriptor. Those in `gone` cannot be read. */
  readonly descriptors = new Map<number, string>();
  readonly gone = new Set<string>();
  /** Paths whose read never ends. */
  readonly hung = new Set<string>();
  failing: Error | undefined;
  #last = 10;

  readonly open = (paths: readonly string[]): Promise<readonly number[]> => {
    this.calls.push(`open ${paths.join(" ")}`);
    return this.#reply(paths, (path) => {
      if (this.gone.has(path)) return -1;
      this.descriptors.set(++this.#last, path);
      return this.#last;
    });
  };
  readonly readOpen = (descriptors: readonly number[]): Promise<readonly (string | null)[]> => {
    const paths = descriptors.map((number) => this.descriptors.get(number) ?? "closed");
    this.calls.push(`read open ${paths.join(" ")}`);
    return this.#reply(paths, this.#textOf);
  };
  readonly read = (paths: readonly string[]): Promise<readonly (string | null)[]> => {
    this.calls.push(`read ${paths.join(" ")}`);
    return this.#reply(paths, this.#textOf);
  };
  readonly close = (descriptor: number): void => {
    assert.ok(this.descriptors.delete(descriptor), `descriptor ${String(descriptor)} is open`);
  };

  readonly #textOf = (path: string): string | null =>
    path === "closed" || this.gone.has(path) ? null : `text of ${path}`;

  #reply<T>(paths: readonly string[], make: (path: string) => T): Promise<readonly T[]> {
    if (this.failing !== undefined) return Promise.reject(this.failing);
    if (paths.some((path) => this.hung.has(path))) return Promise.withResolvers<T[]>().promise;
    return Promise.resolve(paths.map(make));
  }
}

function newCache(limits: Partial<FdCacheLimits> = {}): { kernel: Kernel; cache: CgroupFdCache } {
  const kernel = new Kernel();
  return { kernel, cache: new CgroupFdCache(kernel, limits) };
}

describe("CgroupFdCache", () => {
  test("opens files once, and reads in one job what is requested in one turn", async () => {
    const { kernel, cache } = newCache();
    const [a, b] = [cache.add(["a1", "a2"]), cache.add(["b1"])];
    const both = [["text of a1", "text of a2"], ["text of b1"]];
    assert.deepEqual(await Promise.all([a.read(), b.read()]), both);
    assert.deepEqual(await Promise.all([a.read(), b.read()]), both);
    assert.deepEqual(kernel.calls, ["open a1 a2 b1", "read open a1 a2 b1", "read open a1 a2 b1"]);
  });

  test("reads at most batchSize cgroups in one job", async () => {
    const { kernel, cache } = newCache({ batchSize: 2 });
    const all = ["a", "b", "c"].map((path) => cache.add([path]));
    assert.deepEqual((await Promise.all(all.map((entry) => entry.read()))).flat(), [
      "text of a",
      "text of b",
      "text of c",
    ]);
    assert.deepEqual(kernel.calls.toSorted(), [
      "open a b",
      "open c",
      "read open a b",
      "read open c",
    ]);
  });

  test("opens files beyond its limit for each read, and caches them when descriptors are released", async () => {
    const { kernel, cache } = newCache({ descriptors: 3 });
    const [a, b] = [cache.add(["a1", "a2"]), cache.add(["b1", "b2"])];
    await a.read();
    assert.deepEqual(await b.read(), ["text of b1", "text of b2"]);
    assert.equal(kernel.descriptors.size, 2);
    a.release();
    assert.deepEqual(await b.read(), ["text of b1", "text of b2"]);
    assert.deepEqual([...kernel.descriptors.values()], ["b1", "b2"]);
    assert.deepEqual(kernel.calls.slice(2), ["read b1 b2", "open b1 b2", "read open b1 b2"]);
  });

  test("gives null for a missing file, and does not close what it never opened", async () => {
    const { kernel, cache } = newCache();
    kernel.gone.add("a2");
    const a = cache.add(["a1", "a2"]);
    assert.deepEqual(await a.read(), ["text of a1", null]);
    a.release();
    a.release();
    assert.equal(kernel.descriptors.size, 0);
  });

  test("closes the files of a removed cgroup, and reads a new one at its path at once", async () => {
    const { kernel, cache } = newCache();
    const a = cache.add(["a1", "a2"]);
    await a.read();
    kernel.gone.add("a1").add("a2");
    assert.deepEqual(await a.read(), [null, null]);
    assert.equal(kernel.descriptors.size, 0);
    kernel.gone.clear();
    assert.deepEqual(await a.read(), ["text of a1", "text of a2"]);
    for (const number of kernel.descriptors.keys()) kernel.descriptors.set(number, "closed");
    assert.deepEqual(await a.read(), ["text of a1", "text of a2"]);
    assert.equal(kernel.descriptors.size, 0);
  });

  test("opens files again after renewMs, and then finds a file that was missing", async () => {
    const { kernel, cache } = newCache({ renewMs: 20 });
    kernel.gone.add("a2");
    const a = cache.add(["a1", "a2"]);
    assert.deepEqual(await a.read(), ["text of a1", null]);
    kernel.gone.clear();
    await delay(25);
    assert.deepEqual(await a.read(), ["text of a1", "text of a2"]);
    assert.equal(kernel.descriptors.size, 2);
  });

  test("closes files after the current read", async () => {
    const { kernel, cache } = newCache();
    const a = cache.add(["a1"]);
    const read = a.read();
    a.release();
    assert.deepEqual(await read, ["text of a1"]);
    assert.equal(kernel.descriptors.size, 0);
    await a.read();
    assert.equal(kernel.descriptors.size, 1, "a later read caches the files again");
  });

  test("reads cgroups separately when their job does not end", async () => {
    const { kernel, cache } = newCache({ lateMs: 1 });
    const [a, stuck] = [cache.add(["a1"]), cache.add(["s1"])];
    await Promise.all([a.read(), stuck.read()]);
    kernel.hung.add("s1");
    const [read] = [a.read(), stuck.read()];
    assert.deepEqual(await read, ["text of a1"]);
    assert.deepEqual(await a.read(), ["text of a1"]);
    // Cgroups whose read hangs are read by path: the open file is locked in the kernel.
    assert.deepEqual(kernel.calls.slice(2), ["read open a1 s1", "read a1", "read s1", "read a1"]);
  });

  test("passes a failure to all reads of the job, and caches nothing of it", async () => {
    const { kernel, cache } = newCache({ descriptors: 2 });
    const [a, b] = [cache.add(["a1"]), cache.add(["b1"])];
    kernel.failing = new Error("no memory");
    const results = await Promise.allSettled([a.read(), b.read()]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ["rejected", "rejected"],
    );
    kernel.failing = undefined;
    await Promise.all([a.read(), b.read()]);
    assert.equal(kernel.descriptors.size, 2);
  });
});
