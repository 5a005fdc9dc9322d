/** C1: the directory of a pod's checkpoint, which somebody changed, or which others could change. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import type { CheckpointTrust } from "../../src/core/checkpoint/index.ts";
import { CheckpointAttack } from "./checkpoint-attack.ts";

let attack: CheckpointAttack;
let count = 0;

before(async () => {
  attack = await CheckpointAttack.open();
});
after(() => attack[Symbol.asyncDispose]());

describe("the directory of a pod's checkpoint", () => {
  let made: string;
  beforeEach(async () => {
    count++;
    made = await attack.fixture.completedPod(`pod-${count}`, ["a", "b"]);
  });
  const open = async (trust: CheckpointTrust = "own"): Promise<void> => {
    const restore = { restoreId: `pod-${count}`, trust, hold: () => undefined };
    const { containers } = await attack.fixture.store.openPod(
      made,
      restore,
      attack.fixture.operation,
    );
    for (const each of containers) await attack.fixture.store.discard(each.directory);
  };

  const changes: readonly (readonly [string, (at: string) => void, string, RegExp])[] = [
    [
      "a file that is a link",
      (at) => {
        const file = join(at, "containers/a/checkpoint/inventory.img");
        renameSync(file, join(at, "moved"));
        symlinkSync(join(at, "moved"), file);
      },
      "failed-precondition",
      /it is a symbolic link, not a file/,
    ],
    [
      "images behind a link",
      (at) => {
        renameSync(join(at, "containers/a/checkpoint"), join(at, "moved"));
        symlinkSync(join(at, "moved"), join(at, "containers/a/checkpoint"));
      },
      "invalid-argument",
      /containers\/a\/checkpoint": it is not a directory/,
    ],
    [
      "a container behind a link",
      (at) => {
        renameSync(join(at, "containers/a"), join(at, "moved"));
        symlinkSync(join(at, "moved"), join(at, "containers/a"));
      },
      "invalid-argument",
      /containers\/a": it is not a directory/,
    ],
    [
      "a FIFO",
      (at) => {
        const file = join(at, "containers/b/spec.dump");
        rmSync(file);
        execFileSync("mkfifo", [file]);
      },
      "failed-precondition",
      /it is a named pipe, not a file/,
    ],
    [
      "a FIFO for its manifest",
      (at) => {
        rmSync(join(at, "pod.json"));
        execFileSync("mkfifo", [join(at, "pod.json")]);
      },
      "failed-precondition",
      /it is a named pipe/,
    ],
    ["no manifest", (at) => rmSync(join(at, "pod.json")), "invalid-argument", /no "pod.json"/],
    [
      "other memory",
      (at) => writeFileSync(join(at, "containers/a/checkpoint/inventory.img"), "b"),
      "data-loss",
      /inventory.img" of a checkpoint: it has "sha256:/,
    ],
    [
      "a file of 10 GB",
      (at) => truncateSync(join(at, "containers/a/checkpoint/inventory.img"), 10 * 1024 ** 3),
      "data-loss",
      /bytes instead of 1/,
    ],
    [
      "its containers exchanged",
      (at) => {
        const all = join(at, "containers");
        renameSync(join(all, "a"), join(all, "c"));
        renameSync(join(all, "b"), join(all, "a"));
        renameSync(join(all, "c"), join(all, "b"));
      },
      "data-loss",
      /not the one that the pod's checkpoint was made with/,
    ],
    [
      "another pod's name",
      (at) => {
        const text = readFileSync(join(at, "pod.json"), "utf8");
        writeFileSync(join(at, "pod.json"), text.replace('"default"', '"kube-system"'));
      },
      "permission-denied",
      /this node did not make it, or it was changed/,
    ],
  ];
  for (const [name, change, kind, message] of changes) {
    test(`is refused with ${name}`, async () => {
      await open();
      change(made);
      await assert.rejects(open(), (error: Error & { kind?: string }) => {
        assert.match(error.message, message);
        assert.equal(error.kind, kind, error.message);
        return true;
      });
      assert.deepEqual(attack.left(), []);
    });
  }

  test("with a container of another pod of this node is refused", async () => {
    const other = await attack.fixture.completedPod(`other-${count}`, ["a"]);
    rmSync(join(made, "containers/a"), { recursive: true });
    renameSync(join(other, "containers/a"), join(made, "containers/a"));
    await assert.rejects(open(), { kind: "data-loss" });
    await assert.rejects(open("any"), { kind: "data-loss" });
  });

  test("is written only where nobody but root can exchange it", async () => {
    const parent = attack.fixture.path(`open-${count}`);
    mkdirSync(parent);
    execFileSync("chmod", ["0777", parent]);
    await assert.rejects(attack.fixture.store.begin("c", parent), {
      kind: "permission-denied",
      message: /can be changed by others than root/,
    });
    // Who can change the directory of a pod's checkpoint could exchange the one in it.
    await assert.rejects(attack.fixture.store.begin("c", join(parent, "containers")), {
      kind: "permission-denied",
      message: /can be changed by others than root/,
    });
    symlinkSync(parent, `${parent}-link`);
    await assert.rejects(
      attack.fixture.store.begin("c", `${parent}-link`),
      /it is not a directory/,
    );
    await assert.rejects(
      attack.fixture.store.begin("../c", attack.fixture.directory),
      /must be a plain name/,
    );
  });
});
