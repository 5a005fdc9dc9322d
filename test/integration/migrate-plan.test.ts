/**
 * The plan of davit migrate on a node of Debian's containerd that runs a pod: its commands are run, to davit and back.
 * Only the files of kubelet are not those of a node. The test has no kubelet and no crictl, whose part davit has.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { examineNode } from "../../src/cli/migrate/examine-node.ts";
import { formatPlan } from "../../src/cli/migrate/plan.ts";
import { NodeFiles } from "../../src/cli/import-config/node-files.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { CriClient } from "../../src/client/cri-client.ts";
import { CriContainerd, noContainerd } from "../support/cri-containerd.ts";
import { socketIn } from "../support/containerd-process.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import { patient } from "../support/patience.ts";
import { Davit, program } from "../support/suites/cli.ts";
import { busybox, container, imageStatus, listImages, Node } from "../support/suites/containers.ts";
import { bare, cgroupsThere, parentOf } from "../support/suites/pods.ts";

const exec = promisify(execFile);
const skip = noContainerd === undefined ? false : `${noContainerd} is not installed`;

const base = busyboxLayer();
const pauseImage = imageOf([base], { Cmd: ["sleep", "100000"], Env: ["PATH=/bin"] });
const app = imageOf([base, layerOf([{ path: "greeting", body: "hello\n" }])], {
  Cmd: ["cat", "/greeting"],
});
const newer = imageOf([base, layerOf([{ path: "greeting", body: "again\n" }])], {
  Cmd: ["sleep", "100000"],
  Env: ["PATH=/bin"],
});
const kubeletFile = "/var/lib/kubelet/config.yaml";

describe("davit migrate plan on a node of containerd", { skip }, () => {
  let node: Node;
  let davit: Davit;
  let directory: string;
  let socket: string;
  /** The root of the files of kubelet. */
  let tree: string;
  let containerd: CriContainerd | undefined;
  const config = bare();
  let podSandboxId: string;

  before(async () => {
    node = await Node.start();
    davit = new Davit(node.daemon);
    directory = path.join(node.daemon.paths.directory, "containerd");
    socket = socketIn(directory);
    tree = path.join(node.daemon.paths.directory, "tree");
    mkdirSync(path.join(tree, path.dirname(kubeletFile)), { recursive: true });
    const text = `kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix://${socket}\n`;
    writeFileSync(path.join(tree, kubeletFile), text);
    // It answers to the name of crictl in the commands of the plan.
    const bin = path.join(node.daemon.paths.directory, "bin");
    mkdirSync(bin);
    writeFileSync(path.join(bin, "crictl"), crictl, { mode: 0o755 });
    containerd = await CriContainerd.start(directory, { name: busybox, image: pauseImage });
    await node.registry.push("e2e/app", app, ["1"]);
    await node.registry.push("e2e/newer", newer, ["1"]);
    const hosts = ["--hosts-dir", node.registry.certsDir];
    await ctr("images", "pull", ...hosts, "images.test/e2e/app:1");
    podSandboxId = await runThere();
  });
  after(async () => {
    if (containerd !== undefined) await removeThere();
    await containerd?.[Symbol.asyncDispose]();
    await node[Symbol.asyncDispose]();
  });

  /** containerd's client. */
  function there(): CriClient {
    assert.ok(containerd !== undefined);
    return containerd.client;
  }

  /** Runs a pod with a container in containerd. */
  async function runThere(image = busybox): Promise<string> {
    const { runtime } = there();
    const pod = await runtime.runPodSandbox({ config });
    const { containerId } = await runtime.createContainer({
      podSandboxId: pod.podSandboxId,
      config: container({ image: { image } }),
      sandboxConfig: config,
    });
    await runtime.startContainer({ containerId });
    return pod.podSandboxId;
  }

  async function removeThere(): Promise<void> {
    const { runtime } = there();
    for (const { id } of (await runtime.listPodSandbox({})).items) {
      await runtime.stopPodSandbox({ podSandboxId: id });
      await runtime.removePodSandbox({ podSandboxId: id });
    }
    removeParent();
  }

  /** As kubelet does: containerd leaves the pod's cgroup, which its client names. */
  function removeParent(): void {
    for (const cgroup of cgroupsThere(parentOf(config))) rmdirSync(cgroup);
  }

  async function ctr(...args: readonly string[]): Promise<string> {
    const all = ["-a", socket, "-n", "k8s.io", ...args];
    return (await exec("ctr", all, { timeout: patient(60_000) })).stdout;
  }

  async function plan(): Promise<string> {
    const ours = loadConfig(node.daemon.paths.config);
    return formatPlan(await examineNode(new NodeFiles(tree), ours, "containerd"));
  }

  /** Runs the command of the plan that `pattern` finds, after `heading`, as an operator would paste it. */
  async function follow(heading: string, pattern: RegExp): Promise<void> {
    const text = await plan();
    const lines = text.slice(text.indexOf(heading)).split("\n");
    const line = lines.find((each) => pattern.test(each));
    assert.ok(line !== undefined, `${heading} has no ${pattern}:\n${text}`);
    const { directory: home, socket: davitSocket } = node.daemon.paths;
    await exec("sh", ["-ec", line.trim().replace(kubeletFile, path.join(tree, kubeletFile))], {
      cwd: home,
      timeout: patient(120_000),
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        PATH: `${home}/bin:${path.dirname(program)}:${process.env["PATH"]}`,
        DAVIT_ENDPOINT: `unix://${davitSocket}`,
      },
    });
  }

  const isThere = (): Promise<boolean> =>
    there()
      .runtime.podSandboxStatus({ podSandboxId })
      .then(
        () => true,
        () => false,
      );

  test("tells what runs there, names the pod, and changes nothing", async () => {
    const text = await plan();
    assert.match(text, new RegExp(`kubelet +unix://${socket}, from ${kubeletFile}`));
    assert.match(text, /containerd 1\.7\.\S+ at \S+: 1 pod, 1 running container\n/);
    const { namespace, name } = config.metadata ?? {};
    assert.ok(text.includes(`${namespace}/${name}: they cannot be moved`), text);
    assert.match(text, /images +\d+, /);
    assert.ok(await isThere());
  });

  test("takes over images while containerd's pods run: same names and digests, no download", async () => {
    const before = node.registry.requests.length;
    await follow("4. Start davit", /davit migrate images/);
    assert.equal(node.registry.requests.length, before);
    const stored = (await ctr("images", "ls"))
      .split("\n")
      .map((line) => line.split(/\s+/))
      .filter(([name = ""]) => /^[^@]+:[^:]+$/.test(name) && !name.startsWith("sha256:"));
    assert.deepEqual(
      stored.map(([name]) => name).sort(),
      [busybox, "images.test/e2e/app:1"].sort(),
    );
    for (const [name = "", , digest] of stored) {
      const image = await imageStatus(node.daemon, name);
      assert.ok(image !== undefined, name);
      const repository = name.slice(0, name.lastIndexOf(":"));
      assert.ok(image.repoDigests.includes(`${repository}@${digest}`), name);
    }
    const theirs = await there().image.listImages({});
    const ids = (images: readonly { readonly id: string }[]): readonly string[] =>
      images.map(({ id }) => id).sort();
    assert.deepEqual(ids(await listImages(node.daemon)), ids(theirs.images));
    assert.ok(await isThere());
  });

  test("removes containerd's pods, and no others", async () => {
    await follow("3. Stop kubelet", /crictl/);
    assert.equal(await isThere(), false);
    assert.match(await plan(), /: 0 pods, 0 running containers\n/);
    assert.doesNotMatch(await plan(), /cannot be moved/);
  });

  test("without containerd it still plans, images are refused, and nothing is lost by that", async () => {
    await containerd?.[Symbol.asyncDispose]();
    assert.match(await plan(), /runtime +\S+ does not answer: /);
    const result = await davit.run("migrate", "images", "--address", socket);
    assert.equal(result.code, 4, result.err);
    assert.match(result.err, /containerd must run, or name its socket with --address/);
    containerd = await CriContainerd.start(directory, { name: busybox, image: pauseImage });
    const again = await davit.done("migrate", "images", "--address", socket);
    assert.match(again, /present +images\.test\/e2e\/app:1\n/);
  });

  test("points kubelet to davit, and the new plan still leads back to containerd", async () => {
    await follow("6. Point kubelet", /sed -i/);
    const file = path.join(tree, kubeletFile);
    const endpoint = `containerRuntimeEndpoint: unix://${node.daemon.paths.socket}`;
    assert.ok(readFileSync(file, "utf8").includes(endpoint));
    // No file names containerd's socket any more: the plan has its usual one.
    const back = (await plan()).split("And back")[1] ?? "";
    assert.match(
      back,
      /sed -i '.*containerRuntimeEndpoint: unix:\/\/\/run\/containerd\/containerd\.sock\|'/,
    );
  });

  test("and back: an image that davit has pulled since runs in containerd", async () => {
    await davit.done("pull", "images.test/e2e/newer:1");
    await davit.done(
      "save",
      "-q",
      "-o",
      path.join(directory, "images.tar"),
      "images.test/e2e/newer:1",
    );
    await ctr("images", "import", path.join(directory, "images.tar"));
    assert.match(await ctr("images", "ls", "-q"), /^images\.test\/e2e\/newer:1$/m);
    podSandboxId = await runThere("images.test/e2e/newer:1");
    assert.ok(await isThere());
  });
});

/** What the plan calls of crictl: -r SOCKET pods -q, and -r SOCKET rmp -f POD... */
const crictl = `#!/bin/sh
set -e
[ "$1" = -r ]
export DAVIT_ENDPOINT=$2
shift 2
case "$1 $2" in
  "pods -q") exec davit pods -q --no-trunc ;;
  "rmp -f") shift 2; exec davit rm --force "$@" ;;
esac
echo "unexpected: $*" >&2
exit 1
`;
