/** davit migrate images: from Debian's containerd into davit without a registry, and back. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { ContainerdProcess, socketIn, unusedPlugins } from "../support/containerd-process.ts";
import { busyboxLayer, imageOf, indexOf, layerOf } from "../support/images.ts";
import { noContainerd } from "../support/cri-containerd.ts";
import { patient } from "../support/patience.ts";
import { Davit, sleeper } from "../support/suites/cli.ts";
import { imageStatus, Node } from "../support/suites/containers.ts";
import { until } from "../support/suites/pods.ts";

const exec = promisify(execFile);
const skip = noContainerd === undefined ? false : `${noContainerd} is not installed`;
const namespace = "k8s.io";

const base = busyboxLayer();
const app = imageOf([base, layerOf([{ path: "greeting", body: "hello\n" }])], {
  Cmd: ["cat", "/greeting"],
});
const other = imageOf([base], { Cmd: ["true"] });
const index = indexOf(other, app);
const lost = imageOf([layerOf([{ path: "lost", body: "layer\n" }])], { Cmd: ["true"] });

describe("davit migrate images", { skip }, () => {
  let node: Node;
  let davit: Davit;
  let directory: string;
  let containerd: ContainerdProcess | undefined;

  before(async () => {
    node = await Node.start();
    davit = new Davit(node.daemon);
    directory = path.join(node.daemon.paths.directory, "containerd");
    mkdirSync(directory);
    const { registry } = node;
    await registry.push("e2e/app", app, ["1"]);
    await registry.push("e2e/other", other, ["1", "two"]);
    await registry.push("e2e/lost", lost, ["1"]);
    await registry.push("e2e/index", app, []);
    await registry.push("e2e/index", other, ["1"], index);
    containerd = await ContainerdProcess.start(directory, configuration(directory), () =>
      ctr("version").then(
        () => true,
        () => false,
      ),
    );
    const names = ["e2e/app:1", "e2e/other:1", "e2e/other:two", "e2e/lost:1", "e2e/index:1"];
    for (const name of names) {
      await ctr("images", "pull", "--hosts-dir", registry.certsDir, `images.test/${name}`);
    }
    await ctr("images", "label", "images.test/e2e/app:1", "io.cri-containerd.pinned=pinned");
    // As with discard_unpacked_layers.
    await ctr("content", "rm", lost.layers[0]?.digest ?? "");
  });
  after(async () => {
    await containerd?.end("SIGTERM");
    await node[Symbol.asyncDispose]();
  });

  const ctr = async (...args: readonly string[]): Promise<string> => {
    const all = ["-a", socketIn(directory), "-n", namespace, ...args];
    return (await exec("ctr", all, { timeout: patient(60_000) })).stdout;
  };
  const address = (): readonly string[] => ["--address", socketIn(directory)];

  test("takes over whole images with all names, and no request goes to the registry", async () => {
    const before = node.registry.requests.length;
    const result = await davit.run("migrate", "images", ...address());
    assert.equal(result.code, 1, result.err);
    assert.match(
      result.err,
      /images\.test\/e2e\/lost:1: containerd has not kept its layer .*davit pull images\.test\/e2e\/lost:1/,
    );
    assert.match(result.err, /pinned = \["images\.test\/e2e\/app:1"\]/);
    assert.match(result.out, /B +images\.test\/e2e\/app:1\n/);
    assert.equal(node.registry.requests.length, before);
    for (const name of ["e2e/other:1", "e2e/other:two", "e2e/index:1"]) {
      const image = await imageStatus(node.daemon, `images.test/${name}`);
      assert.equal(image?.id, other.config.digest);
      assert.ok(image.repoDigests.includes(`images.test/e2e/index@${index.digest}`));
      assert.ok(image.repoDigests.includes(`images.test/e2e/other@${other.manifest.digest}`));
    }
    assert.equal(await imageStatus(node.daemon, "images.test/e2e/lost:1"), undefined);
  });

  test("skips what is there, and pulls with --pull what containerd has not kept", async () => {
    const result = await davit.run("migrate", "images", "--pull", ...address());
    assert.equal(result.code, 0, result.err);
    assert.match(result.out, /present +images\.test\/e2e\/app:1\n/);
    assert.match(result.out, /pulled +images\.test\/e2e\/lost:1\n/);
    assert.ok((await imageStatus(node.daemon, "images.test/e2e/lost:1")) !== undefined);
  });

  test("a pod runs the image that was taken over", async () => {
    const yaml = `
apiVersion: v1
kind: Pod
metadata: {name: moved}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: images.test/e2e/app:1
      imagePullPolicy: Never
      command: [/bin/sh, -c, ${JSON.stringify(`cat /greeting; ${sleeper}`)}]
`;
    await davit.withPods(yaml, async () => {
      await until("the pod has written its log", async () =>
        (await davit.done("logs", "moved")).startsWith("hello\n"),
      );
    });
  });

  test("and back: davit save, and ctr images import", async () => {
    const archive = path.join(directory, "back.tar");
    await ctr("images", "rm", "images.test/e2e/app:1");
    await davit.done("save", "-q", "-o", archive, "images.test/e2e/app:1");
    await ctr("images", "import", archive);
    assert.match(await ctr("images", "ls", "-q"), /^images\.test\/e2e\/app:1$/m);
  });

  test("rejects names that containerd has not, and sockets that are not containerd's", async () => {
    const missing = await davit.run("migrate", "images", ...address(), "nowhere:1");
    assert.equal(missing.code, 3);
    assert.match(
      missing.err,
      /find image "nowhere:1" in containerd: the namespace "k8s\.io" has no such/,
    );
    const wrong = await davit.run("migrate", "images", "--address", node.daemon.paths.socket);
    assert.equal(wrong.code, 5);
    assert.match(wrong.err, /is not containerd's socket; name it with --address/);
    const none = await davit.run(
      "migrate",
      "images",
      "--address",
      path.join(directory, "none.sock"),
    );
    assert.equal(none.code, 4);
    assert.match(none.err, /containerd must run, or name its socket with --address/);
  });
});

function configuration(directory: string): string {
  const text = (name: string): string => JSON.stringify(path.join(directory, name));
  const disabled = [...unusedPlugins, "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"];
  return `
version = 2
root = ${text("root")}
state = ${text("state")}
temp = ${text("tmp")}
disabled_plugins = ${JSON.stringify(disabled)}
[grpc]
  address = ${JSON.stringify(socketIn(directory))}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text("opt")}
`;
}
