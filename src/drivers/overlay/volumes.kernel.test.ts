import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { listMounts } from "../../linux/mount/index.ts";
import { dir, file, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;

describe("usage()", () => {
  test("counts the writable layer only, hard links once, and is cached", async () => {
    const layer = await fixture.layer(file("image", "x".repeat(100_000)));
    const { path } = await fixture.roots.mount("c", [layer]);
    const before = await fixture.roots.usage("c");
    assert.deepEqual([before.inodes, before.bytes <= 4096n], [1n, true]);
    writeFileSync(join(path, "big"), Buffer.alloc(1_000_000, 1));
    execFileSync("ln", [join(path, "big"), join(path, "hard")]);
    assert.deepEqual(await fixture.roots.usage("c"), before);

    await using other = await TestOverlay.open(fixture.root);
    const now = await other.roots.usage("c");
    const upper = join(fixture.root, "roots/c/upper");
    const du = execFileSync("du", ["-s", "--block-size=1", upper], { encoding: "utf8" });
    assert.deepEqual(now, { bytes: BigInt(Number.parseInt(du, 10)), inodes: 2n });
  });

  test("of a container without a root is not found", async () => {
    await assert.rejects(fixture.roots.usage("nobody"), (error) => isKind(error, "not-found"));
  });
});

describe("close()", () => {
  test("unmounts the directory of the roots when it is empty", async () => {
    const mounts = async (): Promise<number> =>
      (await listMounts()).filter(({ mountPoint }) => mountPoint === join(fixture.root, "roots"))
        .length;
    await fixture.roots.mount("c", []);
    await fixture.roots.close();
    assert.equal(await mounts(), 1);
    await fixture.roots.remove("c");
    await fixture.untilHolds("roots", []);
    await fixture.roots.close();
    assert.equal(await mounts(), 0);
  });
});

describe("a label", () => {
  const label = "system_u:object_r:container_file_t:s0:c1,c2";
  const isRefused = (error: unknown): boolean => /EINVAL/.test(String(error));
  const skip = existsSync("/sys/fs/selinux/enforce") && "this kernel takes labels";

  for (const asOldKernel of [false, true]) {
    const before = asOldKernel ? ", before Linux 6.7" : "";
    test(`is passed to the kernel, which refuses it without SELinux${before}`, {
      skip,
    }, async () => {
      await using own = await TestOverlay.open(join(directory, `label-${asOldKernel}`), {
        asOldKernel,
      });
      const { roots } = own;
      const layer = await own.layer(file("x"));
      await assert.rejects(roots.mount("c", [layer], undefined, { label }), isRefused);
      await roots.mount("c", [layer]);
      const image = digestOf(Buffer.from("labelled"));
      const volumes = [{ name: "i", image, layers: [layer], subPath: "" }];
      await assert.rejects(roots.mountImages("c", volumes, { label }), isRefused);
      await roots.remove("c");
    });
  }
});

describe("mountImages()", () => {
  const image = digestOf(Buffer.from("an image"));

  for (const asOldKernel of [false, true]) {
    test(`shows images whole and in part, read-only${asOldKernel ? ", before Linux 6.7" : ""}`, async () => {
      await using own = await TestOverlay.open(join(directory, `images-${asOldKernel}`), {
        asOldKernel,
      });
      const { roots } = own;
      const lower = await own.layer(dir("a"), file("a/old"), file("a/gone"));
      const upper = await own.layer(dir("a"), file("a/.wh.gone", ""), file("a/new"));
      await roots.mount("c1", [lower]);
      const volumes = [
        { name: "two", image, layers: [lower, upper], subPath: "" },
        { name: "two", image, layers: [lower, upper], subPath: "a" },
        { name: "one", image: digestOf(Buffer.from("other")), layers: [lower], subPath: "" },
      ];
      await roots.mountImages("c1", volumes);
      const at = (index: number, name: string): string =>
        join(roots.imageVolumeOf("c1", index), name);
      assert.deepEqual(readdirSync(at(0, "a")).toSorted(), ["new", "old"]);
      assert.deepEqual(readdirSync(at(1, "")).toSorted(), ["new", "old"]);
      assert.deepEqual(readdirSync(at(2, "a")).toSorted(), ["gone", "old"]);
      for (const index of [0, 1, 2]) {
        assert.throws(() => {
          writeFileSync(at(index, "made"), "");
        }, /EROFS/);
      }
      const images = join(own.root, "roots/c1/images");
      const whole = (await listMounts()).filter(({ mountPoint }) =>
        mountPoint.startsWith(`${images}/whole-`),
      );
      assert.equal(whole.length, 2, "one mount for each image");
      await roots.remove("c1");
      assert.deepEqual(
        (await listMounts()).filter(({ mountPoint }) => mountPoint.startsWith(images)),
        [],
      );
    });
  }

  test("names the missing sub path; mounted images are removed with the root", async () => {
    const layer = await fixture.layer(dir("a"), file("a/f"), {
      name: "out",
      type: "2",
      linkName: directory,
    });
    for (const [id, subPath, why] of [
      ["c1", "b", /mount image "model:1": image_sub_path "b" does not exist/],
      ["c2", "a/f", /"a\/f" is not a directory/],
      ["c3", "out", /"out" does not exist/],
    ] as const) {
      await fixture.roots.mount(id, [layer]);
      const volumes = [{ name: "model:1", image, layers: [layer], subPath }];
      await assert.rejects(
        fixture.roots.mountImages(id, volumes),
        (error) => isKind(error, "invalid-argument") && why.test(String(error)),
      );
      await fixture.roots.remove(id);
    }
  });

  test("is swept with the root of an unknown container", async () => {
    const layer = await fixture.layer(dir("a"));
    await fixture.roots.mount("c1", [layer]);
    await fixture.roots.mountImages("c1", [{ name: "i", image, layers: [layer], subPath: "a" }]);
    const lines = await fixture.roots.sweep({ has: () => false });
    assert.deepEqual(lines, ['removed root of unknown container "c1"']);
    await fixture.untilHolds("roots", []);
    assert.ok(existsSync(join(fixture.root, "layers", hexOf(layer), "fs", "a")));
  });
});

describe("copyVolumes()", () => {
  test("copies the root's directory, and makes an empty one where the root has none", async () => {
    const layer = await fixture.layer(
      { ...dir("data", 0o770), uid: 1000, gid: 2000 },
      { ...file("data/f"), uid: 5, gid: 6 },
      file("not-a-directory"),
    );
    await fixture.roots.mount("c1", [layer]);
    await fixture.roots.copyVolumes("c1", ["/data", "/new"], { uid: 3, gid: 4 });
    const [data, empty] = [0, 1].map((index) => fixture.roots.volumeOf("c1", index));
    assert.ok(data !== undefined && empty !== undefined);
    const facts = (path: string): readonly number[] => {
      const { uid, gid, mode } = statSync(path);
      return [uid, gid, mode & 0o7777];
    };
    assert.deepEqual(facts(data), [1000, 2000, 0o770]);
    assert.deepEqual(facts(join(data, "f")), [5, 6, 0o644]);
    assert.deepEqual(facts(empty), [3, 4, 0o755]);
    assert.deepEqual(readdirSync(empty), []);
    const before = await fixture.roots.usage("c1");
    assert.ok(before.inodes >= 4n, "volumes count as space of the container");
    await fixture.roots.mount("c2", [layer]);
    await assert.rejects(
      fixture.roots.copyVolumes("c2", ["/not-a-directory"], { uid: 0, gid: 0 }),
      (error) => isKind(error, "failed-precondition") && /"\/not-a-directory"/.test(String(error)),
    );
  });
});
