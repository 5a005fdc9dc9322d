import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { CgroupFdCache, type FdCacheKernel, type FdCacheLimits } from "./held-files.ts";

/** A kernel whose files say their own paths, with the calls that it got. */
class Kernel implements FdCacheKernel {
  readonly calls: string[] = [];
  /** Paths by descriptor; those of them that are gone say nothing. */
  readonly descriptors = new Map<number, string>();
  readonly gone = new Set<string>();
  /** Paths whose reading waits, whoever reads them. */
  readonly hung = new Set<string>();
  failing: Error | undefined;
  #last = 10;

  readonly open = (paths: readonly string[]): Promise<readonly number[]> => {
    this.calls.push(`open ${paths.join(" ")}`);
    return this.#answer(paths, (path) => {
      if (this.gone.has(path)) return -1;
      this.descriptors.set(++this.#last, path);
      return this.#last;
    });
  };
  readonly readOpen = (descriptors: readonly number[]): Promise<readonly (string | null)[]> => {
    const paths = descriptors.map((number) => this.descriptors.get(number) ?? "closed");
    this.calls.push(`read open ${paths.join(" ")}`);
    return this.#answer(paths, this.#say);
  };
  readonly read = (paths: readonly string[]): Promise<readonly (string | null)[]> => {
    this.calls.push(`read ${paths.join(" ")}`);
    return this.#answer(paths, this.#say);
  };
  readonly close = (descriptor: number): void => {
    assert.ok(this.descriptors.delete(descriptor), `descriptor ${String(descriptor)} is open`);
  };

  readonly #say = (path: string): string | null =>
    path === "closed" || this.gone.has(path) ? null : `says ${path}`;

  #answer<T>(paths: readonly string[], make: (path: string) => T): Promise<readonly T[]> {
    if (this.failing !== undefined) return Promise.reject(this.failing);
    if (paths.some((path) => this.hung.has(path))) return Promise.withResolvers<T[]>().promise;
    return Promise.resolve(paths.map(make));
  }
}

function holder(limits: Partial<FdCacheLimits> = {}): { kernel: Kernel; files: CgroupFdCache } {
  const kernel = new Kernel();
  return { kernel, files: new CgroupFdCache(kernel, limits) };
}

describe("FileHolder", () => {
  test("opens files once, and reads those that are asked for together in one job", async () => {
    const { kernel, files } = holder();
    const [a, b] = [files.hold(["a1", "a2"]), files.hold(["b1"])];
    const both = [["says a1", "says a2"], ["says b1"]];
    assert.deepEqual(await Promise.all([a.read(), b.read()]), both);
    assert.deepEqual(await Promise.all([a.read(), b.read()]), both);
    assert.deepEqual(kernel.calls, ["open a1 a2 b1", "read open a1 a2 b1", "read open a1 a2 b1"]);
  });

  test("reads no more cgroups in a job than are to be together", async () => {
    const { kernel, files } = holder({ together: 2 });
    const all = ["a", "b", "c"].map((path) => files.hold([path]));
    assert.deepEqual((await Promise.all(all.map((held) => held.read()))).flat(), [
      "says a",
      "says b",
      "says c",
    ]);
    assert.deepEqual(kernel.calls.toSorted(), [
      "open a b",
      "open c",
      "read open a b",
      "read open c",
    ]);
  });

  test("opens what is beyond its descriptors for each reading, and holds it when there is room", async () => {
    const { kernel, files } = holder({ descriptors: 3 });
    const [a, b] = [files.hold(["a1", "a2"]), files.hold(["b1", "b2"])];
    await a.read();
    assert.deepEqual(await b.read(), ["says b1", "says b2"]);
    assert.equal(kernel.descriptors.size, 2);
    a.release();
    assert.deepEqual(await b.read(), ["says b1", "says b2"]);
    assert.deepEqual([...kernel.descriptors.values()], ["b1", "b2"]);
    assert.deepEqual(kernel.calls.slice(2), ["read b1 b2", "open b1 b2", "read open b1 b2"]);
  });

  test("says null for a file that is missing, and does not close what it never opened", async () => {
    const { kernel, files } = holder();
    kernel.gone.add("a2");
    const a = files.hold(["a1", "a2"]);
    assert.deepEqual(await a.read(), ["says a1", null]);
    a.release();
    a.release();
    assert.equal(kernel.descriptors.size, 0);
  });

  test("closes the files of a cgroup that is gone, and sees another at its path at once", async () => {
    const { kernel, files } = holder();
    const a = files.hold(["a1", "a2"]);
    await a.read();
    kernel.gone.add("a1").add("a2");
    assert.deepEqual(await a.read(), [null, null]);
    assert.equal(kernel.descriptors.size, 0);
    kernel.gone.clear();
    assert.deepEqual(await a.read(), ["says a1", "says a2"]);
    for (const number of kernel.descriptors.keys()) kernel.descriptors.set(number, "closed");
    assert.deepEqual(await a.read(), ["says a1", "says a2"]);
    assert.equal(kernel.descriptors.size, 0);
  });

  test("opens files again after a while, and then finds what was missing", async () => {
    const { kernel, files } = holder({ renewMs: 20 });
    kernel.gone.add("a2");
    const a = files.hold(["a1", "a2"]);
    assert.deepEqual(await a.read(), ["says a1", null]);
    kernel.gone.clear();
    await delay(25);
    assert.deepEqual(await a.read(), ["says a1", "says a2"]);
    assert.equal(kernel.descriptors.size, 2);
  });

  test("closes after a reading that is under way", async () => {
    const { kernel, files } = holder();
    const a = files.hold(["a1"]);
    const reading = a.read();
    a.release();
    assert.deepEqual(await reading, ["says a1"]);
    assert.equal(kernel.descriptors.size, 0);
    await a.read();
    assert.equal(kernel.descriptors.size, 1, "what is read again is held again");
  });

  test("reads apart those of a job that does not end", async () => {
    const { kernel, files } = holder({ lateMs: 1 });
    const [a, stuck] = [files.hold(["a1"]), files.hold(["s1"])];
    await Promise.all([a.read(), stuck.read()]);
    kernel.hung.add("s1");
    const [of] = [a.read(), stuck.read()];
    assert.deepEqual(await of, ["says a1"]);
    assert.deepEqual(await a.read(), ["says a1"]);
    // The one whose own reading is stuck is asked by its path: its descriptor is not to be trusted.
    assert.deepEqual(kernel.calls.slice(2), ["read open a1 s1", "read a1", "read s1", "read a1"]);
  });

  test("gives a failure to all who wait for it, and holds nothing of it", async () => {
    const { kernel, files } = holder({ descriptors: 2 });
    const [a, b] = [files.hold(["a1"]), files.hold(["b1"])];
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
