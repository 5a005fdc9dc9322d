/** Helpers for the attacks on checkpoints: archives of which entries were changed, added or left out. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CheckpointTrust, OpenedCheckpoint } from "../../src/core/checkpoint/index.ts";
import { type BuiltEntry } from "../../src/unpack/testing/tar-builder.ts";
import { TestCheckpoints } from "../support/test-checkpoints.ts";

/** The largest checkpoint that is restored, in bytes. */
export const maxBytes = 64 * 1024 * 1024;

/** The files of a checkpoint, as entries of an archive. */
export function entriesOf(from: string): readonly BuiltEntry[] {
  const names = execFileSync("find", ["-type", "f", "-printf", "%P\n"], {
    cwd: from,
    encoding: "utf8",
  });
  return names
    .trim()
    .split("\n")
    .toSorted()
    .map((name) => ({ name, data: readFileSync(join(from, name)) }));
}

/** A checkpoint of this node, and archives that somebody made of it. */
export class CheckpointAttack implements AsyncDisposable {
  readonly fixture: TestCheckpoints;
  /** The files of the checkpoint. */
  readonly directory: string;
  /** The entries of its archive. */
  readonly own: readonly BuiltEntry[];
  #count = 0;

  private constructor(fixture: TestCheckpoints, directory: string) {
    this.fixture = fixture;
    this.directory = directory;
    this.own = entriesOf(directory);
  }

  static async open(): Promise<CheckpointAttack> {
    const fixture = await TestCheckpoints.open(maxBytes);
    const change = (root: string): void => writeFileSync(join(root, "new"), "new");
    const directory = await fixture.completed("one", [], change);
    await fixture.store.archive(directory, fixture.path("own.tar"), fixture.operation.signal);
    return new CheckpointAttack(fixture, directory);
  }

  /** The entries but this one. */
  without(name: string): readonly BuiltEntry[] {
    return this.own.filter((each) => each.name !== name);
  }

  /** The entries, with other data in this one. */
  replaced(name: string, data: string | Buffer): readonly BuiltEntry[] {
    return this.own.map((each) => (each.name === name ? { ...each, data } : each));
  }

  /** As CRI-O writes it, with these entries. */
  foreign(...more: readonly BuiltEntry[]): readonly BuiltEntry[] {
    return [
      ...this.without("davit.json").filter(
        ({ name }) => !more.some((each) => each.name === name) && name !== "rootfs-diff.tar",
      ),
      ...more,
    ];
  }

  /** What is left of restores. */
  left(): readonly string[] {
    const restores = join(this.fixture.root, "checkpoints/restores");
    return existsSync(restores) ? readdirSync(restores) : [];
  }

  async openBytes(
    archive: Buffer,
    trust: CheckpointTrust = "own",
    use?: (opened: OpenedCheckpoint) => Promise<void>,
  ): Promise<OpenedCheckpoint> {
    const location = this.fixture.path(`archive-${this.#count++}`);
    writeFileSync(location, archive);
    try {
      return await this.openPath(location, trust, use);
    } finally {
      rmSync(location);
    }
  }

  /** Opens an archive, and discards it after `use`. */
  async openPath(
    location: string,
    trust: CheckpointTrust = "own",
    use?: (opened: OpenedCheckpoint) => Promise<void>,
  ): Promise<OpenedCheckpoint> {
    const { store, operation } = this.fixture;
    const restore = { containerId: `restore-${this.#count++}`, trust, hold: () => undefined };
    const opened = await store.openArchive(location, restore, operation);
    try {
      await use?.(opened);
    } finally {
      await store.discard(opened.directory);
    }
    return opened;
  }

  /** An archive is refused, and nothing of it stays on the node. */
  async refused(
    archive: Buffer,
    kind: string,
    message: RegExp,
    trust: CheckpointTrust = "own",
  ): Promise<void> {
    const { layers } = this.fixture.overlay;
    const before = layers.list();
    await assert.rejects(this.openBytes(archive, trust), (error: Error & { kind?: string }) => {
      assert.match(error.message, message);
      assert.equal(error.kind, kind, error.message);
      return true;
    });
    assert.deepEqual(this.left(), []);
    assert.deepEqual(layers.list(), before);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fixture[Symbol.asyncDispose]();
  }
}
