import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import {
  bindMount,
  listMounts,
  makePrivateBind,
  type MountEntry,
  mountTmpfs,
  unmount,
} from "./index.ts";
import { mountsBelow } from "../testing/leaks.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-mounts-"));
const [source, target] = [join(dir, "source"), join(dir, "target")];
const inner = join(source, "inner");

before(async () => {
  mkdirSync(inner, { recursive: true });
  mkdirSync(target);
  await mountTmpfs(inner, { sizeBytes: 65_536, mode: 0o755 });
  writeFileSync(join(inner, "file"), "inner");
});
after(async () => {
  await unmount(inner);
  rmSync(dir, { recursive: true });
});

async function mountAt(path: string): Promise<MountEntry | undefined> {
  return (await listMounts()).find((mount) => mount.mountPoint === path);
}

describe("bindMount()", () => {
  test("leaves out mounts below unless it is recursive", async () => {
    await bindMount(source, target);
    assert.equal(existsSync(join(target, "inner", "file")), false);
    await unmount(target);
    await bindMount(source, target, { recursive: true, private: true });
    assert.equal(existsSync(join(target, "inner", "file")), true);
    assert.deepEqual((await mountAt(target))?.propagation, []);
    await unmount(target);
    assert.equal(await mountAt(target), undefined);
    assert.equal(await mountAt(join(target, "inner")), undefined);
  });

  test("makes everything below read-only, keeps nosuid and leaves the source writable", async () => {
    await bindMount(source, target, { recursive: true, readonly: true });
    assert.throws(() => writeFileSync(join(target, "new"), ""), /EROFS/);
    assert.throws(() => writeFileSync(join(target, "inner", "new"), ""), /EROFS/);
    const below = await mountAt(join(target, "inner"));
    assert.ok(below?.options.includes("ro") && below.options.includes("nosuid"));
    writeFileSync(join(inner, "new"), "");
    await unmount(target);
  });

  test("binds files with unusual names, which listMounts() decodes", async () => {
    const odd = join(dir, 'a b\tc\\d\n"ü#');
    writeFileSync(odd, "");
    await bindMount("/etc/hostname", odd, { readonly: true });
    assert.equal((await mountAt(odd))?.mountPoint, odd);
    await unmount(odd);
    rmSync(odd);
  });

  test("names the missing path, and leaves nothing", async () => {
    const mounts = await mountsBelow(dir);
    const none = join(dir, "none");
    await assert.rejects(
      bindMount(none, target),
      (e) => isKind(e, "not-found") && /bind ".*none"/.test(String(e)),
    );
    await assert.rejects(
      bindMount(source, none),
      (e) => isKind(e, "not-found") && /bind to ".*none"/.test(String(e)),
    );
    await assert.rejects(bindMount(source, `${target}\0x`), (e) => isKind(e, "invalid-argument"));
    assert.deepEqual(await mountsBelow(dir), mounts);
  });
});

describe("mountTmpfs()", () => {
  test("has the size, mode and flags of a pod's /dev/shm", async () => {
    await mountTmpfs(target, { sizeBytes: 64 * 1024 * 1024, mode: 0o1777, uid: 5, gid: 6 });
    const found = await mountAt(target);
    assert.deepEqual([found?.fsType, found?.source], ["tmpfs", "shm"]);
    for (const flag of ["nosuid", "nodev", "noexec"])
      assert.ok(found?.options.includes(flag), flag);
    const info = statSync(target);
    assert.deepEqual([info.mode & 0o7777, info.uid, info.gid], [0o1777, 5, 6]);
    const space = statfsSync(target);
    assert.equal(space.blocks * space.bsize, 64 * 1024 * 1024);
    await unmount(target);
  });

  test("has no more files than its limit", async () => {
    await mountTmpfs(target, { sizeBytes: 65_536, mode: 0o755, inodes: 3 });
    for (const name of ["one", "two"]) writeFileSync(join(target, name), "");
    assert.throws(() => writeFileSync(join(target, "three"), ""), /ENOSPC/);
    await unmount(target);
  });

  test("rejects a limit of 0", async () => {
    for (const wrong of [0, -1, 1.5, Number.NaN]) {
      for (const limits of [{ sizeBytes: wrong }, { sizeBytes: 4096, inodes: wrong }]) {
        await assert.rejects(mountTmpfs(target, { ...limits, mode: 0o700 }), (e) =>
          isKind(e, "invalid-argument"),
        );
      }
    }
    assert.equal(await mountAt(target), undefined);
  });

  test("passes a label to the kernel, which needs SELinux", async () => {
    const label = "system_u:object_r:container_file_t:s0:c1,c2";
    const mounting = mountTmpfs(target, { sizeBytes: 4096, mode: 0o700, label });
    if (!existsSync("/sys/fs/selinux/enforce")) {
      await assert.rejects(mounting, (e) => isKind(e, "invalid-argument"));
      assert.equal(await mountAt(target), undefined);
      return;
    }
    await mounting;
    const found = await mountAt(target);
    assert.ok(found?.superOptions.join().includes(label));
    await unmount(target);
  });
});

test("makePrivateBind() makes a bind inert, also an existing one, and only once", async () => {
  const flags = ["nosuid", "nodev", "noexec"];
  const flagsOf = async (): Promise<readonly string[]> =>
    (await mountAt(target))?.options.filter((option) => flags.includes(option)) ?? [];
  await makePrivateBind(target);
  assert.deepEqual(await flagsOf(), []);
  await makePrivateBind(target, { inert: true });
  assert.deepEqual(await flagsOf(), flags);
  await makePrivateBind(target);
  assert.deepEqual(await flagsOf(), flags);
  await unmount(target);
  assert.equal(await mountAt(target), undefined);
  await makePrivateBind(target, { inert: true });
  assert.deepEqual(await flagsOf(), flags);
  await unmount(target);
});

test("unmount() removes one mount at a time, and succeeds without one", async () => {
  await mountTmpfs(target, { sizeBytes: 4096, mode: 0o700 });
  await mountTmpfs(target, { sizeBytes: 4096, mode: 0o700 });
  await unmount(target);
  assert.notEqual(await mountAt(target), undefined);
  await unmount(target);
  await unmount(target);
  await unmount(join(dir, "none"));
  assert.equal(await mountAt(target), undefined);
});
