import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../base/errors.ts";
import { ErofsFiles } from "./erofs/erofs-files.ts";
import { LayerDirectories } from "./layer-directories.ts";
import type { LayerFiles } from "./layer-files.ts";
import { LayerWriter } from "./layer-writer.ts";
import { defaultLimits, TarReader } from "./tar-reader.ts";
import { type BuiltEntry, buildTar } from "./testing/tar-builder.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-directories-"));
const file = openSync(join(directory, "image"), "w");
after(() => {
  closeSync(file);
  rmSync(directory, { recursive: true });
});

const deep = (top: number | string, levels: number): string => `${top}/${"d/".repeat(levels)}`;

/** The object, and what its calls cost: a step of a walk one, and a path its length. */
function counted(files: LayerFiles, add: (cost: number) => void): LayerFiles {
  const count = <T extends object>(object: T): T =>
    new Proxy(object, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== "function") return value;
        return (...args: readonly unknown[]): unknown => {
          for (const arg of args) add(typeof arg === "string" ? arg.length : 1);
          const result = Reflect.apply(value, target, args) as object;
          return name === "walk" ? count(result) : result;
        };
      },
    });
  return count(files);
}

/** What unpacking these entries costs, for each byte of their names. */
function costOf(entries: readonly BuiltEntry[]): number {
  let cost = 0;
  const writer = new LayerWriter(counted(new ErofsFiles(file), (by) => (cost += by)));
  const reader = new TarReader(writer, defaultLimits);
  reader.write(buildTar(entries));
  reader.end();
  writer.finish();
  const sizes = entries.map(({ pax }) => Object.values(pax ?? {}).join("").length);
  return cost / sizes.reduce((sum, size) => sum + size, 0);
}

describe("LayerDirectories", () => {
  const tops = Array.from({ length: 5 }, (_, at) => at);

  test("makes the parents of a deep entry in time that is linear in its name", () => {
    for (const levels of [20, 2000]) {
      const entries = tops.map((top) => ({ name: "x", pax: { path: `${deep(top, levels)}x` } }));
      const cost = costOf(entries);
      assert.ok(cost < 20, `${levels} levels cost ${cost} for each byte`);
    }
  });

  test("finds the deep targets of hard links, and makes deep directories opaque, as fast", () => {
    const links = tops.map((top) => ({
      name: "x",
      type: "1",
      pax: { path: `l${top}`, linkpath: `${deep(top, 2000)}x` },
    }));
    assert.ok(costOf(links) < 20);
    const marks = tops.map((top) => ({
      name: "x",
      pax: { path: `${deep(top, 2000)}.wh..wh..opq` },
    }));
    assert.ok(costOf(marks) < 20);
  });

  test("resolves names of links, of missing directories and above the root as the kernel does", () => {
    const files = new ErofsFiles(file);
    const directories = new LayerDirectories(files);
    directories.make("/a");
    directories.make("/a/b");
    files.makeSymlink("/a/up", "../..//./a/b");
    files.makeSymlink("/a/gone", "/none/of/../../a/b/..");
    files.makeSymlink("/a/loop", "loop");
    assert.equal(directories.find("/a/up/x").path, "/a/b/x");
    assert.equal(directories.find("/a/gone/x").path, "/a/x");
    assert.equal(directories.find("/none/x/y").path, "/none/x/y");
    assert.equal(directories.makeParents("/a/gone/c/x"), "/a/c");
    assert.equal(files.find("/a/c")?.isDirectory(), true);
    assert.equal(files.find("/none/of")?.isDirectory(), true);
    assert.throws(
      () => directories.find("/a/loop/x"),
      (error) => isKind(error, "invalid-argument"),
    );
  });

  test("does not walk paths that the kernel would not take", () => {
    const files = new ErofsFiles(file);
    const directories = new LayerDirectories(files);
    directories.makeParents(`/${deep("a", 2000)}x`);
    files.makeSymlink("/l", deep("a", 2000));
    const tooLong = { code: "ENAMETOOLONG" };
    assert.throws(() => directories.find(`/l/${deep("b", 100)}x`), tooLong);
    assert.throws(() => directories.makeParents(`/${deep("a", 2100)}x`), tooLong);
  });
});
