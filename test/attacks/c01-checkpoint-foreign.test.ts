/** C1: archives of checkpoints as other runtimes write them, which nothing on this node vouches for. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type BuiltEntry, buildTar } from "../../src/unpack/testing/tar-builder.ts";
import { CheckpointAttack } from "./checkpoint-attack.ts";

let attack: CheckpointAttack;

before(async () => {
  attack = await CheckpointAttack.open();
});
after(() => attack[Symbol.asyncDispose]());

describe("an archive of another runtime", () => {
  test("gives facts that may be shown, and nothing else", async () => {
    const config = {
      id: "a".repeat(64),
      name: "evil\u001b[31m",
      rootfsImageName: "quay.io/x:1",
      rootfsImageRef: `quay.io/x@sha256:${"b".repeat(64)}`,
      runtime: "/usr/bin/../bin/runc",
      checkpointedTime: "2026-01-02T03:04:05.6Z",
    };
    const spec = {
      hostname: "h\nh",
      process: { terminal: true },
      annotations: { "io.kubernetes.pod.name": "pod", "io.kubernetes.pod.namespace": 5 },
    };
    const archive = attack.foreign(
      { name: "config.dump", data: JSON.stringify(config) },
      { name: "spec.dump", data: JSON.stringify(spec) },
      { name: "bind.mounts", data: '[{"Source":"/etc"}]' },
      { name: "io.kubernetes.cri-o.LogPath", data: "/etc/shadow" },
    );
    const { facts } = (await attack.openBytes(buildTar(archive), "any")) as {
      readonly facts: object;
    };
    assert.deepEqual(facts, {
      name: "",
      containerId: "a".repeat(64),
      podName: "pod",
      podNamespace: "",
      imageName: "quay.io/x:1",
      imageDigests: [`sha256:${"b".repeat(64)}`],
      runtime: "runc",
      terminal: true,
      hostname: "",
      capturedAtNs: 1_767_323_045_600_000_000n,
      config: undefined,
      podConfig: undefined,
      runtimeHandler: "",
    });
  });

  test("that is not a checkpoint is refused", async () => {
    const wrong: readonly (readonly [readonly BuiltEntry[], RegExp])[] = [
      [attack.foreign().filter(({ name }) => name !== "spec.dump"), /it has no "spec.dump"/],
      [attack.foreign({ name: "config.dump", data: "[]" }), /"config.dump".*not a JSON object/],
      [
        attack.foreign().filter(({ name }) => !name.includes("inventory")),
        /no "checkpoint\/inventory/,
      ],
    ];
    for (const [entries, message] of wrong) {
      await attack.refused(buildTar(entries), "invalid-argument", message, "any");
    }
  });

  test("hides files of its image only, by either form", async () => {
    const base = await attack.fixture.overlay.layer(
      { name: "a", data: "a" },
      { name: "d/", type: "5" },
      { name: "d/b", data: "b" },
      { name: "d/c", data: "c" },
    );
    const forms: readonly (readonly BuiltEntry[])[] = [
      [{ name: "deleted.files", data: '["/a","d/b"]' }],
      [
        {
          name: "rootfs-diff.tar",
          data: gzipSync(
            buildTar([
              { name: ".wh.a", data: "" },
              { name: "d/.wh.b", data: "" },
            ]),
          ),
        },
      ],
    ];
    for (const [at, form] of forms.entries()) {
      const opened = (await attack.openBytes(buildTar(attack.foreign(...form)), "any")) as {
        readonly changes: `sha256:${string}`;
      };
      const root = await attack.fixture.mount(`form-${at}`, [base, opened.changes]);
      assert.deepEqual(readdirSync(root), ["d"]);
      assert.deepEqual(readdirSync(join(root, "d")), ["c"]);
    }
  });

  test("cannot delete or write outside of its layer", async () => {
    const escape = buildTar([{ name: "../../../x", data: "x" }]);
    const wrong: readonly (readonly [BuiltEntry, RegExp])[] = [
      [{ name: "deleted.files", data: '["/../../etc/passwd"]' }, /leads out of the layer/],
      [{ name: "deleted.files", data: '[""]' }, /a path is empty/],
      [{ name: "deleted.files", data: '["a\\u0000b"]' }, /has a NUL/],
      [{ name: "deleted.files", data: "[1]" }, /it must be a list of paths/],
      [{ name: "deleted.files", data: '{"length":1}' }, /it must be a list of paths/],
      [{ name: "deleted.files", data: "[" }, /it is not JSON/],
      [{ name: "rootfs-diff.tar", data: escape }, /leads out of the layer/],
      [{ name: "rootfs-diff.tar", data: "not an archive".repeat(100) }, /header/],
    ];
    for (const [entry, message] of wrong) {
      await attack.refused(buildTar(attack.foreign(entry)), "invalid-argument", message, "any");
    }
  });
});
