import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test, type TestContext } from "node:test";
import { FakeEngine, never } from "../../engine/testing/engine.ts";
import { removeImage } from "../../engine/image/index.ts";
import { preloadImages } from "./preload.ts";

const base = mkdtempSync(join(tmpdir(), "davit-preload-"));
let count = 0;
after(() => rmSync(base, { recursive: true }));

function site(t: TestContext, files: readonly string[]) {
  const root = join(base, String(count++));
  const directory = join(root, "archives");
  mkdirSync(directory, { recursive: true });
  for (const name of files) writeFileSync(join(directory, name), name);
  const engine = new FakeEngine(t);
  const { archives } = engine.world;
  /** The archives that a preload reads, in order. */
  const preload = async (): Promise<readonly string[]> => {
    const read: string[] = [];
    const open = archives.open.bind(archives);
    t.mock.method(archives, "open", async (...args: Parameters<typeof open>) => {
      const archive = await open(...args);
      read.push(archives.received?.bytes.toString() ?? "");
      return archive;
    });
    await preloadImages({ directory, root, images: engine.images }, never);
    t.mock.restoreAll();
    return read;
  };
  return { root, directory, engine, archives, preload };
}

describe("preloadImages()", () => {
  test("loads archives in the order of their names, and nothing else", async (t) => {
    const { archives, preload, engine } = site(t, [
      "b.tar.gz",
      "a.tar",
      "c.tgz",
      "d.tar.zst",
      ".hidden.tar",
      "README.md",
    ]);
    archives.images = [{ names: ["app:1"], layers: ["base"] }];
    assert.deepEqual(await preload(), ["a.tar", "b.tar.gz", "c.tgz", "d.tar.zst"]);
    assert.notEqual(engine.images.store.find("app:1"), undefined);
  });

  test("loads an archive again only if it changed or its image is gone", async (t) => {
    const { archives, directory, preload, engine } = site(t, ["a.tar", "b.tar"]);
    archives.images = [{ names: ["app:1"], layers: ["base"] }];
    assert.deepEqual(await preload(), ["a.tar", "b.tar"]);
    assert.deepEqual(await preload(), []);
    utimesSync(join(directory, "b.tar"), 1, 1);
    assert.deepEqual(await preload(), ["b.tar"]);
    await removeImage(engine.images, "app:1");
    // The image of the second one is then the same, and exists again.
    assert.deepEqual(await preload(), ["a.tar"]);
  });

  test("continues after an archive that fails, and tries it again the next time", async (t) => {
    const { archives, preload, engine, root } = site(t, ["a.tar", "b.tar"]);
    archives.images = [{ names: ["app:1"], layers: ["base"] }];
    archives.trouble.fail("open", new Error("it is broken"), 1);
    assert.deepEqual(await preload(), ["b.tar"]);
    const [error = ""] = engine.logged("error");
    assert.match(error, /^failed to preload ".*a\.tar": it is broken$/);
    assert.deepEqual(await preload(), ["a.tar"]);
    writeFileSync(join(root, "preloaded.json"), "broken");
    assert.deepEqual(await preload(), ["a.tar", "b.tar"]);
    assert.match(readFileSync(join(root, "preloaded.json"), "utf8"), /^\{"version":1,/);
  });

  test("says that its directory does not exist", async (t) => {
    const { directory, preload, engine } = site(t, []);
    rmSync(directory, { recursive: true });
    assert.deepEqual(await preload(), []);
    assert.match(engine.logged("error")[0] ?? "", /preload_dir ".*archives": it does not exist/);
  });
});
