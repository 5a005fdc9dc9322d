/** SELinux in enforcing mode with Debian's policy: the labels of pods, containers and mounts, and their effect. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { SELinuxOptionSchema } from "../../../src/gen/runtime/v1/api_pb.ts";
import {
  type ContainerInit,
  container,
  createIn,
  exec,
  exited,
  inPod,
  Node,
  type Pod,
  pidOf,
  pull,
  runIn,
  script,
  sh,
} from "../../support/suites/containers.ts";
import {
  code,
  failsWith,
  launchDaemon,
  mapped,
  NODE,
  openDirectories,
  pod,
  until,
} from "../../support/suites/pods.ts";
import type { TestDaemon } from "../../support/daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../../support/images.ts";

let node: Node;
let daemon: TestDaemon;
/** On the disk, which keeps labels; what is made in it gets the policy's for what lies there. */
const directory = mkdtempSync(path.join(tmpdir(), "davit-selinux-"));
const model = "registry.k8s.io/e2e/model:1";
const declaring = "registry.k8s.io/e2e/declaring:1";

before(async () => {
  node = await Node.startWithBusybox({
    config: { runtime: { selinux: true } },
    readyTimeoutMs: 120_000,
  });
  daemon = node.daemon;
  // Also to who has no rights on the node, as root in a user namespace.
  openDirectories(daemon);
  await node.registry.push("e2e/model", imageOf([layerOf([{ path: "old", body: "old" }])]), ["1"]);
  const image = imageOf([busyboxLayer()], { Env: ["PATH=/bin"], Volumes: { "/data": {} } });
  await node.registry.push("e2e/declaring", image, ["1"]);
  await pull(daemon, model);
  await pull(daemon, declaring);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

type Security = NonNullable<NonNullable<ContainerInit["linux"]>["securityContext"]>;

function secured(securityContext: Security, more: ContainerInit = {}): ContainerInit {
  return container({ ...more, linux: { securityContext } });
}

/** The label that the kernel has for a process, without the zero at its end. */
function labelOf(pid: number | "self"): string {
  return readFileSync(`/proc/${pid}/attr/current`, "utf8").replace(/\0$/, "");
}

async function processLabel(id: string): Promise<string> {
  return labelOf(await pidOf(daemon, id));
}

/** The label of a file, as stat(1) reads it. */
function fileLabel(...at: readonly string[]): string {
  const file = path.join(...at);
  return execFileSync("stat", ["--format=%C", file], { encoding: "utf8" }).trim();
}

async function rootOf(id: string): Promise<string> {
  return `/proc/${await pidOf(daemon, id)}/root`;
}

const processPattern = /^system_u:system_r:container_t:(s0:c\d+,c\d+)$/;

function levelOf(label: string): string {
  const [, level] = processPattern.exec(label) ?? assert.fail(`no label of a container: ${label}`);
  return level ?? "";
}

const fileOf = (level: string): string => `system_u:object_r:container_file_t:${level}`;

/** A directory of the node with a file in it. */
function volume(name: string): string {
  const at = path.join(directory, name);
  mkdirSync(at);
  writeFileSync(path.join(at, "file"), "the node's\n");
  // The type of another program of the node, which no container may read.
  execFileSync("chcon", ["--recursive", "system_u:object_r:postgresql_db_t:s0", at]);
  return at;
}

function mounted(hostPath: string, selinuxRelabel: boolean): NonNullable<ContainerInit["mounts"]> {
  return [{ hostPath, containerPath: "/data", selinuxRelabel }];
}

/** That a container can neither read a directory at /data nor write to it. */
async function isKeptOut(id: string): Promise<void> {
  for (const text of ["cat /data/file", "echo x >/data/file", "touch /data/made"]) {
    const said = await exec(daemon, id, ["sh", "-c", text]);
    assert.notEqual(said.exitCode, 0, text);
    assert.match(said.stderr, /Permission denied/, text);
  }
}

async function inTwoPods(use: (one: Pod, other: Pod) => Promise<void>): Promise<void> {
  await inPod(daemon, pod(), (one) => inPod(daemon, pod(), (other) => use(one, other)));
}

test("the kernel enforces the policy, and davit runs in a domain of its own", () => {
  assert.equal(readFileSync("/sys/fs/selinux/enforce", "utf8"), "1");
  assert.match(labelOf("self"), /:davit_t:/);
});

test("the containers of a pod share a level, and no other pod has it", () =>
  inTwoPods(async (one, other) => {
    const labels = [];
    for (const at of [one, one, other]) labels.push(await processLabel(await runIn(at)));
    const [first = "", second, third = ""] = labels;
    assert.equal(second, first);
    assert.notEqual(levelOf(third), levelOf(first));
  }));

test("a container's files have its pod's label, and it can use them", () =>
  inPod(daemon, pod(), async (at) => {
    const id = await runIn(at);
    const label = fileOf(levelOf(await processLabel(id)));
    const root = await rootOf(id);
    for (const file of [
      "/",
      "/bin/busybox",
      "/etc/resolv.conf",
      "/etc/hosts",
      "/dev/shm",
      "/dev",
    ]) {
      assert.equal(fileLabel(root, file), label, file);
    }
    const use = [
      "cat /etc/resolv.conf /etc/hosts /proc/meminfo >/dev/null",
      "echo x >/made && echo x >/dev/shm/made && rm /made",
      // Not /sys/fs/cgroup: Debian's policy does not let container_t list it.
      "ls /dev/mqueue >/dev/null",
    ];
    for (const text of use) await sh(daemon, id, text);
    assert.equal(fileLabel(root, "dev/shm/made"), label);
  }));

test("a command in a container has its label", () =>
  inPod(daemon, pod(), async (at) => {
    const id = await runIn(at);
    const said = await sh(daemon, id, "cat /proc/self/attr/current");
    assert.equal(said.replace(/\0$/, ""), await processLabel(id));
  }));

test("a container without new privileges gets its label all the same", () =>
  inPod(daemon, pod(), async (at) => {
    levelOf(await processLabel(await runIn(at, secured({ noNewPrivs: true }))));
  }));

test("davit ends confined containers, whose processes signal each other", () =>
  inPod(daemon, pod(), async (at) => {
    const text =
      "sleep 100000 & child=$!; trap 'kill $child; wait $child; exit 7' TERM; echo >/waits; wait";
    const id = await runIn(at, script(text));
    // Before it has set its trap, the first process of a PID namespace ignores the signal.
    await until("it waits", async () => (await exec(daemon, id, ["ls", "/waits"])).exitCode === 0);
    await daemon.client.runtime.stopContainer({ containerId: id, timeout: 240n });
    assert.equal((await exited(daemon, id)).exitCode, 7);
  }));

describe("a mount", () => {
  test("that is relabelled is its pod's alone", () =>
    inTwoPods(async (one, other) => {
      const hostPath = volume("owned");
      const owner = await runIn(one, container({ mounts: mounted(hostPath, true) }));
      const label = fileOf(levelOf(await processLabel(owner)));
      for (const name of [".", "file"]) assert.equal(fileLabel(hostPath, name), label, name);
      await sh(daemon, owner, "cat /data/file && echo x >/data/file && touch /data/made");
      assert.equal(fileLabel(hostPath, "made"), label);
      // A container of the same pod may as well, and one of another may not.
      const friend = await runIn(one, container({ mounts: mounted(hostPath, false) }));
      await sh(daemon, friend, "cat /data/file && echo x >/data/file");
      await isKeptOut(await runIn(other, container({ mounts: mounted(hostPath, false) })));
    }));

  test("that is not relabelled keeps the node's label, and what it keeps out", () =>
    inPod(daemon, pod(), async (at) => {
      const hostPath = volume("kept");
      const before = fileLabel(hostPath);
      const id = await runIn(at, container({ mounts: mounted(hostPath, false) }));
      assert.equal(fileLabel(hostPath), before);
      assert.equal(fileLabel(hostPath, "file"), before);
      await isKeptOut(id);
    }));

  test("is relabelled without what else is mounted in it, and where a link leads", () =>
    inPod(daemon, pod(), async (at) => {
      const hostPath = volume("outer");
      const [elsewhere, inner] = [volume("elsewhere"), path.join(hostPath, "inner")];
      mkdirSync(inner);
      symlinkSync(elsewhere, path.join(hostPath, "link"));
      const before = fileLabel(elsewhere);
      execFileSync("mount", ["-t", "tmpfs", "davit-vm", inner]);
      try {
        const ofMount = fileLabel(inner);
        const id = await runIn(at, container({ mounts: mounted(hostPath, true) }));
        const label = fileOf(levelOf(await processLabel(id)));
        for (const name of [".", "file", "link"]) assert.equal(fileLabel(hostPath, name), label);
        assert.equal(fileLabel(inner), ofMount);
        assert.equal(fileLabel(elsewhere), before);
        assert.equal(fileLabel(elsewhere, "file"), before);
      } finally {
        execFileSync("umount", ["--lazy", inner]);
      }
    }));

  test("on a file system that keeps no labels is taken as it is", () =>
    inPod(daemon, pod(), async (at) => {
      // The machine's root has one label for all.
      const hostPath = mkdtempSync("/opt/davit-selinux-");
      const before = fileLabel(hostPath);
      await runIn(at, container({ mounts: mounted(hostPath, true) }));
      assert.equal(fileLabel(hostPath), before);
      rmSync(hostPath, { recursive: true });
    }));

  test("of a container of type spc_t keeps its label, and can be used", () =>
    inPod(daemon, pod(), async (at) => {
      const hostPath = volume("spc");
      const before = fileLabel(hostPath, "file");
      const selinuxOptions = { type: "spc_t" };
      const config = secured({ selinuxOptions }, { mounts: mounted(hostPath, true) });
      const id = await runIn(at, config);
      assert.match(await processLabel(id), /^system_u:system_r:spc_t:s0:c\d+,c\d+$/);
      assert.equal(fileLabel(hostPath, "file"), before);
      await sh(daemon, id, "cat /data/file && echo x >/data/file");
    }));

  test("of a directory of the node itself is not relabelled, but refused", () =>
    inPod(daemon, pod(), async (at) => {
      const config = container({ mounts: mounted("/etc", true) });
      await assert.rejects(createIn(at, config), failsWith(code.invalidArgument, /"\/etc"/));
    }));
});

test("an image that is mounted and a volume that an image declares have the pod's label", () =>
  inPod(daemon, pod(), async (at) => {
    const mounts = [{ containerPath: "/model", image: { image: model }, readonly: true }];
    const id = await runIn(at, container({ image: { image: declaring }, mounts }));
    const label = fileOf(levelOf(await processLabel(id)));
    const root = await rootOf(id);
    for (const file of ["data", "model", "model/old"]) {
      assert.equal(fileLabel(root, file), label, file);
    }
    assert.equal(await sh(daemon, id, "echo x >/data/made && cat /model/old"), "old");
  }));

test("a privileged container is not confined, and has files of its pod", () => {
  const config = pod();
  if (config.linux?.securityContext !== undefined) config.linux.securityContext.privileged = true;
  return inPod(daemon, config, async (at) => {
    const id = await runIn(at, secured({ privileged: true }));
    // The policy's own step from what runs containers to a file of a container.
    assert.match(await processLabel(id), /:spc_t:/);
    assert.match(fileLabel(await rootOf(id), "bin"), /:container_file_t:s0:c\d+,c\d+$/);
    await sh(daemon, id, "mkdir /m && mount -t tmpfs none /m && echo x >/m/x");
  });
});

test("a container with the node's processes has no label of a container", () =>
  inPod(daemon, pod({ pid: NODE }), async (at) => {
    const id = await runIn(at);
    assert.doesNotMatch(await processLabel(id), /container_t/);
    assert.doesNotMatch(fileLabel(await rootOf(id), "bin"), /c\d+,c\d+$/);
  }));

test("a pod in a user namespace has labels as any", () =>
  inPod(daemon, mapped(), async (at) => {
    const id = await runIn(at);
    const label = fileOf(levelOf(await processLabel(id)));
    assert.equal(fileLabel(await rootOf(id), "bin"), label);
    await sh(daemon, id, "echo x >/made && echo x >/dev/shm/made && cat /etc/resolv.conf");
  }));

/** A pod's config with these options. */
function optioned(options: MessageInitShape<typeof SELinuxOptionSchema>): ReturnType<typeof pod> {
  const config = pod();
  const context = config.linux?.securityContext;
  if (context !== undefined) context.selinuxOptions = create(SELinuxOptionSchema, options);
  return config;
}

describe("options of a request", () => {
  test("are the pod's, and a container's go before them", () =>
    inPod(daemon, optioned({ level: "s0:c7,c9" }), async (at) => {
      const id = await runIn(at);
      assert.equal(await processLabel(id), "system_u:system_r:container_t:s0:c7,c9");
      assert.equal(fileLabel(await rootOf(id), "bin"), fileOf("s0:c7,c9"));
      const own = { type: "container_kvm_t", level: "s0:c1,c2" };
      const other = await runIn(at, secured({ selinuxOptions: own }));
      assert.equal(await processLabel(other), "system_u:system_r:container_kvm_t:s0:c1,c2");
      assert.equal(fileLabel(await rootOf(other), "bin"), fileOf("s0:c1,c2"));
    }));

  test("that the policy does not have are refused, and leave nothing", async () => {
    const wrong = [
      { type: "davit_nowhere_t" },
      { user: "davit_nobody_u" },
      { role: "davit_none_r" },
      { level: "s9:c1" },
      { level: "nonsense" },
    ];
    for (const options of wrong) {
      const [name = ""] = Object.values(options);
      const refused = failsWith(code.invalidArgument, new RegExp(name));
      const config = optioned(options);
      await assert.rejects(daemon.client.runtime.runPodSandbox({ config }), refused);
      await inPod(daemon, pod(), async (at) => {
        await assert.rejects(createIn(at, secured({ selinuxOptions: options })), refused);
        assert.deepEqual((await daemon.client.runtime.listContainers({})).containers, []);
      });
    }
    assert.deepEqual((await daemon.client.runtime.listPodSandbox({})).items, []);
  });
});

test("after a restart of the daemon a pod's containers get its label, and other pods another", () =>
  inPod(daemon, pod(), async (at) => {
    const id = await runIn(at);
    const label = await processLabel(id);
    await daemon.stop();
    await launchDaemon(daemon);
    await until("davit answers", async () => {
      return (await daemon.client.runtime.listContainers({})).containers.length === 1;
    });
    const said = await sh(daemon, id, "cat /proc/self/attr/current");
    assert.equal(said.replace(/\0$/, ""), label);
    assert.equal(await processLabel(await runIn(at)), label);
    await inPod(daemon, pod(), async (other) => {
      assert.notEqual(levelOf(await processLabel(await runIn(other))), levelOf(label));
    });
  }));
