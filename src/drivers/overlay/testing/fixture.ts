// What tests of layers and roots have in common: an overlay for each test, and a check that nothing is left of it.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach } from "node:test";
import { type Digest, hexOf } from "../../../base/digest.ts";
import { type ErrorKind, kindOf } from "../../../base/errors.ts";
import type { LayerSource } from "../../../core/snapshot/index.ts";
import { listMounts } from "../../../linux/mount/index.ts";
import { childPids, until } from "../../../linux/testing/leaks.ts";
import type { BuiltEntry } from "../../../unpack/testing/tar-builder.ts";
import type { OverlayLayers } from "../overlay-layers.ts";
import type { OverlayRoots } from "../overlay-roots.ts";
import { TestOverlay } from "./layers.ts";

export const never = new AbortController().signal;
export const file = (name: string, data = name): BuiltEntry => ({ name, data });
export const dir = (name: string, mode = 0o755): BuiltEntry => ({ name, type: "5", mode });
export const hard = (name: string, linkName: string): BuiltEntry => ({ name, type: "1", linkName });

/** An overlay for each test of a file, below one directory. */
export class OverlayFixture {
  readonly directory = mkdtempSync(join(tmpdir(), "davit-overlay-"));
  #overlay: TestOverlay | undefined;
  #count = 0;

  /** Registers the hooks of the calling test file. */
  constructor() {
    beforeEach(async () => {
      this.#overlay = await TestOverlay.open(join(this.directory, `root-${this.#count++}`));
    });
    afterEach(async () => {
      for (const name of readdirSync(join(this.root, "roots"))) {
        if (!name.startsWith(".")) await this.roots.remove(name);
      }
      await this.overlay[Symbol.asyncDispose]();
      assert.deepEqual(childPids(), []);
      const mounts = await listMounts();
      assert.deepEqual(
        mounts.filter(({ mountPoint }) => mountPoint.startsWith(this.directory)),
        [],
      );
    });
    after(() => {
      rmSync(this.directory, { recursive: true });
    });
  }

  get overlay(): TestOverlay {
    return this.#overlay ?? assert.fail("no test is running");
  }

  get layers(): OverlayLayers {
    return this.overlay.layers;
  }

  get roots(): OverlayRoots {
    return this.overlay.roots;
  }

  get root(): string {
    return this.overlay.root;
  }

  layer(...entries: readonly BuiltEntry[]): Promise<Digest> {
    return this.overlay.layer(...entries);
  }

  filesOf(diffId: Digest): string {
    return join(this.root, "layers", hexOf(diffId), "fs");
  }

  /** Deletions run in the background: waits until the directory holds exactly these entries. */
  async untilHolds(name: "layers" | "roots", entries: readonly string[]): Promise<void> {
    const path = join(this.root, name);
    await until(
      `${path} holds ${entries.join()}`,
      () => readdirSync(path).sort().join() === entries.join(),
    );
  }

  assertNoLayers(): void {
    assert.deepEqual(readdirSync(join(this.root, "layers")), [".empty"]);
    assert.deepEqual(this.layers.list(), []);
  }

  /** Checks that the layer cannot be unpacked, and that nothing of it is left. */
  async assertRefused(
    source: LayerSource,
    kind: ErrorKind,
    message: RegExp,
    signal = never,
  ): Promise<void> {
    await assert.rejects(this.layers.unpack(source, signal), (error) => {
      assert.match(String(error), message);
      assert.equal(kindOf(error), kind);
      return true;
    });
    this.assertNoLayers();
  }
}
