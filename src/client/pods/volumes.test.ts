import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { parsePodManifests } from "../../manifest/index.ts";
import { createVolumes, hostPathsOf } from "./volumes.ts";

let directory: string;
beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "davit-volumes-"))));
afterEach(() => rmSync(directory, { recursive: true }));

/** A pod with one volume, which its container mounts. */
function podWith(source: string, subPath = "") {
  const text = `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {
    volumes: [{name: data, ${source}}],
    containers: [{name: c, image: i, volumeMounts: [{name: data, mountPath: /data, subPath: "${subPath}"}]}]}}`;
  const node = { podsRoot: directory, resolvConf: "", nodeName: "n", memoryBytes: 2 ** 33 };
  const [pod] = parsePodManifests(text, "m", node);
  assert.ok(pod);
  return { ...pod, directory };
}

const noTmpfs = (): Promise<void> => Promise.reject(new Error("no tmpfs"));

/** The host path of the container's mount. */
async function pathOf(pod: ReturnType<typeof podWith>): Promise<string | undefined> {
  const [path] = await hostPathsOf(pod.containers[0]?.volumeMounts ?? [], pod);
  return path;
}

describe("createVolumes()", () => {
  test("makes the directories of a hostPath, and those above it", async () => {
    const path = join(directory, "a/b/c");
    const pod = podWith(`hostPath: {path: "${path}", type: DirectoryOrCreate}`);
    await createVolumes(pod, noTmpfs);
    assert.equal(statSync(path).mode & 0o777, 0o755);
  });

  test("fails for a hostPath that cannot be made, as below /proc", async () => {
    for (const type of ["DirectoryOrCreate", "FileOrCreate"]) {
      const pod = podWith(`hostPath: {path: /proc/davit/none/file, type: ${type}}`);
      const failure = /create volume "data" of pod "default\/web": .*"?\/proc\/davit/;
      await assert.rejects(createVolumes(pod, noTmpfs), failure);
      rmSync(join(directory, "volumes"), { recursive: true });
    }
  });
});

describe("hostPathsOf()", () => {
  test("makes a subPath that is missing", async () => {
    const pod = podWith("emptyDir: {}", "a/b");
    await createVolumes(pod, noTmpfs);
    const path = join(directory, "volumes/data/a/b");
    assert.equal(await pathOf(pod), path);
    assert.ok(statSync(path).isDirectory());
    assert.equal(await pathOf(pod), path);
  });

  test("refuses a subPath by a link out of the volume, and makes nothing there", async () => {
    const outside = join(directory, "outside");
    mkdirSync(outside);
    for (const subPath of ["link", "link/made", "link/made/deeper"]) {
      const pod = podWith("emptyDir: {}", subPath);
      await createVolumes(pod, noTmpfs);
      symlinkSync(outside, join(directory, "volumes/data/link"));
      const refusal = new RegExp(
        `^use subPath "${subPath}" of volume "data": it leads out of the volume to "${outside}"; remove`,
      );
      await assert.rejects(pathOf(pod), { kind: "failed-precondition", message: refusal });
      assert.deepEqual(readdirSync(outside), []);
      rmSync(join(directory, "volumes"), { recursive: true });
    }
  });

  test("makes nothing behind a link to what does not exist", async () => {
    const pod = podWith("emptyDir: {}", "link/made");
    await createVolumes(pod, noTmpfs);
    symlinkSync(join(directory, "later"), join(directory, "volumes/data/link"));
    await assert.rejects(pathOf(pod), /^RuntimeError: use subPath "link\/made" of volume "data": /);
    assert.ok(!readdirSync(directory).includes("later"));
  });
});
