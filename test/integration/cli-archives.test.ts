/** davit load, import, tag and save against a real daemon, without any registry. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { dockerArchive, ociLayout, skopeoCopy, tarOf, writeFiles } from "../support/archives.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, indexOf, layerOf } from "../support/images.ts";
import { Davit, sleeper } from "../support/suites/cli.ts";
import { imageStatus, layersThere, removeAllImages } from "../support/suites/containers.ts";
import { endDaemon, startDaemon, until } from "../support/suites/pods.ts";

const base = busyboxLayer("none");
const top = layerOf([{ path: "greeting", body: "hello\n" }], "none");
const app = imageOf([base, top], { Cmd: ["cat", "/greeting"] });
const other = imageOf([base], { Cmd: ["true"] });

let daemon: TestDaemon;
let davit: Davit;
let directory: string;
before(async () => {
  daemon = await startDaemon();
  davit = new Davit(daemon);
  directory = path.join(daemon.paths.directory, "files");
  mkdirSync(directory);
});
after(() => endDaemon(daemon));

const at = (name: string): string => path.join(directory, name);

function write(name: string, bytes: Buffer): string {
  writeFileSync(at(name), bytes);
  return at(name);
}

function podYaml(name: string, image: string, script: string): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: ${image}
      imagePullPolicy: IfNotPresent
      command: [/bin/sh, -c, ${JSON.stringify(script)}]
`;
}

/** The log of a pod of this image that prints what the script does. */
async function said(image: string, script: string): Promise<string> {
  let log = "";
  const yaml = podYaml("reader", image, `${script}; echo end; ${sleeper}`);
  await davit.withPods(yaml, async () => {
    await until("its log is written", async () =>
      (log = await davit.done("logs", "reader")).endsWith("end\n"),
    );
  });
  return log;
}

/** No archive and no unfinished layer is left. */
function nothingHalf(): void {
  const names = [...readdirSync(path.join(daemon.paths.root, "layers"))];
  assert.deepEqual(
    names.filter((name) => name.startsWith(".new-")),
    [],
  );
  assert.deepEqual(readdirSync(path.join(daemon.paths.root, "archives")), []);
}

describe("images without a registry", () => {
  test("a root file system of busybox, packed by tar, imported and run", async () => {
    const root = at("rootfs");
    mkdirSync(path.join(root, "bin"), { recursive: true });
    copyFileSync("/bin/busybox", path.join(root, "bin/busybox"));
    for (const name of ["sh", "cat", "sleep"]) symlinkSync("busybox", path.join(root, "bin", name));
    writeFileSync(path.join(root, "greeting"), "hello from a laptop\n");
    execFileSync("tar", ["-C", root, "-czf", at("rootfs.tar.gz"), "."]);

    const name = "docker.io/library/laptop:1";
    assert.equal(await davit.done("import", at("rootfs.tar.gz"), "laptop:1"), `loaded ${name}\n`);
    assert.equal(await said("laptop:1", "cat /greeting"), "hello from a laptop\nend\n");
    const again = await davit.done("import", "-q", at("rootfs.tar.gz"), "laptop:2");
    const image = await imageStatus(daemon, "laptop:2");
    assert.equal(again, `${image?.id ?? ""}\n`);
    assert.deepEqual(image?.repoTags, [name, "docker.io/library/laptop:2"]);
    assert.deepEqual(image.repoDigests, []);
    nothingHalf();
    await removeAllImages(daemon);
  });

  test("archives of skopeo, plain, compressed and from stdin, are loaded with their names", async () => {
    writeFiles(at("layout"), ociLayout([app], [{ blob: app.manifest }]));
    const full = "images.test/app:1";
    skopeoCopy(`oci:${at("layout")}`, `docker-archive:${at("docker.tar")}:${full}`);
    skopeoCopy(`oci:${at("layout")}`, `oci-archive:${at("oci.tar")}:${full}`);
    const docker = readFileSync(at("docker.tar"));
    const gz = write("docker.tar.gz", gzipSync(docker, { level: 1 }));
    const zst = write("docker.tar.zst", zstdCompressSync(docker));
    for (const args of [[at("docker.tar")], ["-i", at("oci.tar")], [gz], [zst]]) {
      assert.equal(await davit.done("load", ...args), `loaded ${full}\n`);
      const image = await imageStatus(daemon, full);
      assert.deepEqual([image?.id, image?.repoTags], [app.config.digest, [full]]);
      assert.equal(image?.repoDigests.length, args[0] === "-i" ? 1 : 0);
      await removeAllImages(daemon);
      await until("the layers are removed", () => layersThere(daemon).length === 0);
    }
    assert.deepEqual(await davit.start(["load", "-q"], docker).ended, {
      code: 0,
      out: `${app.config.digest}\n`,
      err: "",
    });
    nothingHalf();
    await removeAllImages(daemon);
  });

  test("several images of one archive share a layer, and a layout for two platforms has one", async () => {
    const both = [
      { image: app, tags: ["app:1", "images.test/app:1"] },
      { image: other, tags: null },
    ];
    const file = write("both.tar", tarOf(dockerArchive(both)));
    const out = await davit.done("load", file);
    assert.match(
      out,
      /^loaded docker.io\/library\/app:1\nloaded images.test\/app:1\nloaded \w{12}\n$/,
    );
    assert.equal(layersThere(daemon).length, 2);
    assert.deepEqual((await imageStatus(daemon, other.config.digest))?.repoTags, []);
    await removeAllImages(daemon);

    const index = indexOf(app, other);
    const annotations = { "io.containerd.image.name": "docker.io/library/app:2" };
    const files = ociLayout([app], [{ blob: index, annotations }], [index]);
    writeFiles(at("layout2"), files);
    assert.equal(await davit.done("load", at("layout2")), "loaded docker.io/library/app:2\n");
    const image = await imageStatus(daemon, `docker.io/library/app@${index.digest}`);
    assert.equal(image?.id, app.config.digest);
    await removeAllImages(daemon);
  });

  test("an image gets a name, and the name moves", async () => {
    const file = write("app.tar", tarOf(dockerArchive([{ image: app, tags: ["app:1"] }])));
    const second = write("other.tar", tarOf(dockerArchive([{ image: other, tags: null }])));
    await davit.done("load", file);
    assert.equal(
      await davit.done("load", "--name", "app:3", second),
      "loaded docker.io/library/app:3\n",
    );
    assert.equal(await davit.done("tag", "app:1", "app:3"), "docker.io/library/app:3\n");
    assert.equal((await imageStatus(daemon, "app:3"))?.id, app.config.digest);
    assert.deepEqual((await imageStatus(daemon, other.config.digest))?.repoTags, []);
    const unknown = await davit.run("tag", "nobody", "app:4");
    assert.deepEqual([unknown.code, unknown.out], [3, ""]);
    assert.match(unknown.err, /tag image "nobody": it is not on this node; pull or load it/);
    await removeAllImages(daemon);
  });

  test("saved images are read by others, and are the same when they are loaded", async () => {
    const layers = [base, layerOf([{ path: "greeting", body: "saved\n" }, { path: "bin/.wh.ls" }])];
    const image = imageOf(layers, { Cmd: ["cat", "/greeting"], Labels: { kept: "yes" } });
    const archive = tarOf(dockerArchive([{ image, tags: ["saved:1"] }]));
    await davit.done("load", write("in.tar", archive));
    await davit.done("tag", "saved:1", "images.test/saved:2");
    const [full, second] = ["docker.io/library/saved:1", "images.test/saved:2"];
    await davit.done("save", "-o", at("out.tar"), "saved:1", second);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.endsWith(".part")),
      [],
    );
    for (const source of [
      `docker-archive:${at("out.tar")}:${full}`,
      `oci-archive:${at("out.tar")}:2`,
    ]) {
      const { Labels: labels } = JSON.parse(
        execFileSync("skopeo", ["inspect", source], { encoding: "utf8" }),
      ) as { Labels: unknown };
      assert.deepEqual(labels, { kept: "yes" });
    }
    const piped = await davit.run("save", "saved:1", second);
    await removeAllImages(daemon);
    await until("the layers are removed", () => layersThere(daemon).length === 0);
    assert.equal(await davit.done("load", at("out.tar")), `loaded ${full}\nloaded ${second}\n`);
    assert.equal(await said("saved:1", "cat /greeting; ls /bin/ls"), "saved\nend\n");
    const again = await davit.run("save", "saved:1", second);
    assert.deepEqual([again.code, again.out === piped.out], [0, true]);
    await removeAllImages(daemon);
  });

  test("a check finds a broken image, and repairs or removes it", async () => {
    // Nothing listens there, so it cannot be pulled.
    const name = "127.0.0.1:1/broken:1";
    await davit.done(
      "load",
      write("broken.tar", tarOf(dockerArchive([{ image: app, tags: [name] }]))),
    );
    assert.equal(await davit.done("images", "check", "--deep"), `${name}: whole\n`);
    const hex = top.diffId.replace("sha256:", "");
    rmSync(path.join(daemon.paths.root, "layers", hex, "fs/greeting"));
    const found = await davit.run("images", "check");
    assert.equal(found.code, 1);
    assert.match(
      found.out,
      new RegExp(
        `^${name}: broken\n {2}layer ${hex.slice(0, 12)}: .* has 1 files and directories; it had 2`,
      ),
    );
    const { code, out } = await davit.run("images", "check", "--repair", "-o", "json");
    const [image] = JSON.parse(out) as { result: string; message: string; problems: unknown[] }[];
    assert.deepEqual([code, image?.result, image?.problems.length], [1, "removed", 1]);
    assert.match(image?.message ?? "", /pull or load the image again/);
    assert.equal(await imageStatus(daemon, name), undefined);
    await davit.done("load", at("broken.tar"));
    assert.equal(await davit.done("images", "check", name), `${name}: whole\n`);
    await removeAllImages(daemon);
  });

  test("archives in a directory are loaded at the start, and once", async () => {
    const preload = at("preload");
    mkdirSync(preload);
    writeFileSync(path.join(preload, "a.tar"), "not an archive");
    const archive = tarOf(dockerArchive([{ image: app, tags: ["preloaded:1"] }]));
    writeFileSync(path.join(preload, "b.tar.gz"), gzipSync(archive));
    const config = { images: { preload_dir: preload, pinned: ["preloaded:1"] } };
    daemon.changeConfig(config);
    await daemon.restart();
    await daemon.waitForLine(/failed to preload .*a\.tar/);
    await daemon.waitForLine(/preloaded images/);
    const image = await imageStatus(daemon, "preloaded:1");
    assert.deepEqual([image?.id, image?.pinned], [app.config.digest, true]);
    const from = daemon.lines.length;
    rmSync(path.join(preload, "a.tar"));
    writeFileSync(path.join(preload, "c.tar"), "not an archive either");
    await daemon.restart();
    await daemon.waitForLine(/failed to preload .*c\.tar/, from);
    assert.equal(
      daemon.lines.slice(from).some(({ text }) => text.includes("preloaded images")),
      false,
    );
    daemon.changeConfig({});
    await daemon.restart();
    await removeAllImages(daemon);
  });

  test("a load that the daemon does not survive leaves nothing, and can be repeated", async () => {
    const file = write("killed.tar", tarOf(dockerArchive([{ image: app, tags: ["killed:1"] }])));
    await daemon.restart({ DAVIT_FAULTS: "load-image/complete-layers=kill" });
    assert.notEqual((await davit.run("load", file)).code, 0);
    assert.equal((await daemon.exited).signal, "SIGKILL");
    daemon.launch();
    await daemon.ready();
    await until("the archive is removed", () => {
      return readdirSync(path.join(daemon.paths.root, "archives")).length === 0;
    });
    assert.equal(await imageStatus(daemon, "killed:1"), undefined);
    assert.equal(await davit.done("load", file), "loaded docker.io/library/killed:1\n");
    nothingHalf();
    await removeAllImages(daemon);
  });

  test("what is not an archive of images is refused, and leaves nothing", async () => {
    const wrong = ociLayout([app], [{ blob: app.manifest }]);
    wrong[`blobs/${top.digest.replace(":", "/")}`] = Buffer.alloc(top.bytes.length);
    const cases: readonly (readonly [Buffer, RegExp])[] = [
      [base.bytes, /neither a docker archive nor an OCI layout.*davit import/],
      [Buffer.from("no archive at all"), /ends in the middle of an entry/],
      [tarOf(wrong), /has the digest/],
    ];
    for (const [bytes, message] of cases) {
      const { code, err, out } = await davit.run("load", write("wrong.tar", bytes));
      assert.deepEqual([code, out], [1, ""]);
      assert.match(err, message);
    }
    const missing = await davit.run("load", at("nothing.tar"));
    assert.match(missing.err, /nothing\.tar": no such file/i);
    await until("nothing is left", () => layersThere(daemon).length === 0);
    nothingHalf();
  });
});
