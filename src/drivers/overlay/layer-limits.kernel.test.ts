// Limits of writable layers, on an ext4 and an xfs in files. Kernels without project quotas skip them.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { projectsOf } from "../../linux/file/index.ts";
import { unmount } from "../../linux/mount/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { LayerLimits } from "./layer-limits.ts";
import { file } from "./testing/fixture.ts";
import { TestOverlay } from "./testing/layers.ts";

const mib = 2 ** 20;
const first = 2 ** 30;
const directory = mkdtempSync(join(tmpdir(), "davit-limits-"));
const mounted: string[] = [];
after(async () => {
  for (const at of mounted) await unmount(at);
  rmSync(directory, { recursive: true });
});

/** Mounts a new file system with project quotas; or the reason why this machine cannot. */
function mountQuota(type: string, sizeMiB: number, options: readonly string[]): string | undefined {
  const image = join(directory, `${type}.img`);
  const at = join(directory, type);
  writeFileSync(image, "");
  truncateSync(image, sizeMiB * mib);
  mkdirSync(at);
  for (const [program, ...args] of [
    [`mkfs.${type}`, "-q", ...options, image],
    ["mount", "-o", "loop,prjquota", image, at],
  ]) {
    const { error, status, stderr } = spawnSync(program ?? "", args, { encoding: "utf8" });
    if (error !== undefined) return `${program} cannot be started: ${error.message}`;
    if (status !== 0) return `${program} failed: ${stderr.trim().split("\n")[0]}`;
  }
  return undefined;
}

/** True for EDQUOT, which Node.js does not know by name, and for ENOSPC. */
function isFull(error: unknown): boolean {
  return error instanceof Error && "errno" in error && [-122, -28].includes(Number(error.errno));
}

/** Adds files until there is no space; the number of MiB. */
function fill(path: string): number {
  for (let at = 0; ; at++) {
    try {
      writeFileSync(join(path, `file-${at}`), Buffer.alloc(mib));
    } catch (error) {
      assert.ok(isFull(error), String(error));
      return at;
    }
  }
}

for (const [type, sizeMiB, options] of [
  ["ext4", 96, ["-O", "quota,project", "-E", "quotatype=prjquota"]],
  ["xfs", 320, []],
] as const) {
  const obstacle = mountQuota(type, sizeMiB, options);
  const at = join(directory, type);
  if (obstacle === undefined) mounted.push(at);
  const skip = obstacle ?? false;
  describe(`limits on ${type}`, () => {
    test("a writable layer ends at its limit, which statfs shows, and others do not", {
      skip,
    }, async () => {
      const root = join(at, "root");
      await using overlay = await TestOverlay.open(root, { firstProject: first });
      const { roots } = overlay;
      const layer = await overlay.layer(file("of-the-image"));
      const small = await roots.mount("small", [layer], undefined, { limitBytes: 8 * mib });
      const large = await roots.mount("large", [layer], undefined, { limitBytes: 24 * mib });
      const free = await roots.mount("free", [layer]);
      const { blocks, bsize } = statfsSync(small.path);
      assert.equal(blocks * bsize, 8 * mib);
      mkdirSync(join(small.path, "data"));
      await roots.copyVolumes("small", ["/data"], { uid: 0, gid: 0 });
      const written = fill(small.path);
      assert.ok(written >= 6 && written <= 8, `${written} MiB`);
      const { bytes, inodes } = await roots.usage("small");
      assert.ok(bytes >= BigInt(written) * 2n ** 20n && bytes <= 8n * 2n ** 20n, `${bytes} bytes`);
      assert.ok(inodes > BigInt(written) && inodes < BigInt(written) + 20n, `${inodes} inodes`);
      // What the image declares as a volume counts as well. ext4 lets CAP_SYS_RESOURCE pass, except in an overlay.
      const more = join(roots.volumeOf("small", 0), "more");
      const dd = ["dd", "if=/dev/zero", `of=${more}`, "bs=1M", "count=9"];
      const { status } = spawnSync("setpriv", ["--bounding-set", "-sys_resource", ...dd]);
      assert.notEqual(status, 0);
      assert.ok((statSync(more, { throwIfNoEntry: false })?.size ?? 0) < 9 * mib);
      writeFileSync(join(large.path, "file"), Buffer.alloc(12 * mib));
      writeFileSync(join(free.path, "file"), Buffer.alloc(30 * mib));
      assert.ok((await roots.usage("free")).bytes >= 30n * 2n ** 20n);
      for (const id of ["small", "large", "free"]) await roots.remove(id);
      await until("the roots are deleted", () => readdirSync(join(root, "roots")).length === 0);
    });

    test("each container has a project of its own, also after a restart", { skip }, async () => {
      const root = join(at, "projects");
      const projects = async (): Promise<readonly number[]> =>
        await projectsOf(["a", "b", "c"].map((id) => join(root, "roots", id, "upper")));
      const options = { firstProject: first + 1000 };
      {
        await using overlay = await TestOverlay.open(root, options);
        await overlay.roots.mount("a", [], undefined, { limitBytes: mib });
        await overlay.roots.mount("b", [], undefined, { limitBytes: mib });
        assert.deepEqual(await projects(), [first + 1000, first + 1001, 0]);
      }
      await using overlay = await TestOverlay.open(root, options);
      await overlay.roots.remove("a");
      await overlay.roots.mount("c", [], undefined, { limitBytes: mib });
      assert.deepEqual(await projects(), [0, first + 1001, first + 1002]);
      assert.ok((await overlay.roots.usage("b")).inodes > 0n);
      await overlay.roots.remove("b");
      await overlay.roots.remove("c");
    });

    test("an id that has files of others is skipped", { skip }, async () => {
      const roots = join(at, "others");
      for (const name of ["foreign", "mine"]) mkdirSync(join(roots, name), { recursive: true });
      const limits = await LayerLimits.open(roots, first + 2000, silentLogger);
      assert.ok(limits !== undefined);
      const foreign = execFileSync("sh", [
        "-c",
        `chattr -p ${first + 2000} ${join(roots, "foreign")} && echo set`,
      ]);
      assert.equal(foreign.toString(), "set\n");
      const mine = join(roots, "mine");
      await limits.begin("mine", mib, [mine]);
      assert.deepEqual(await projectsOf([mine]), [first + 2001]);
      await limits.end("mine");
      // Its files are still there, so it does not get this one again.
      await limits.begin("mine", mib, [mine]);
      assert.deepEqual(await projectsOf([mine]), [first + 2002]);
    });
  });
}

test("a file system without project quotas has no limits, with one warning", async () => {
  const warned: string[] = [];
  const log: Logger = { ...silentLogger, warn: (text) => void warned.push(text) };
  const root = join(directory, "none");
  await using overlay = await TestOverlay.open(root, { firstProject: first, log });
  const { path } = await overlay.roots.mount("one", [], undefined, { limitBytes: mib });
  writeFileSync(join(path, "file"), Buffer.alloc(2 * mib));
  assert.match(warned.join("\n"), /^writable layers have no limit, .* prjquota$/);
  await overlay.roots.remove("one");
});
