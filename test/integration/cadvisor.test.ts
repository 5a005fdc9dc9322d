/** The socket for cAdvisor: what its client is told about pods, and who owns the path. */
// variants: shim
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync, statSync, unlinkSync } from "node:fs";
import { createServer, type Server } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { errnoCode } from "../../src/base/system-error.ts";
import {
  Containers,
  type Container as ContainerMessage,
} from "../../src/gen/containerd/services/containers/v1/containers_pb.ts";
import { Tasks } from "../../src/gen/containerd/services/tasks/v1/tasks_pb.ts";
import { Version } from "../../src/gen/containerd/services/version/v1/version_pb.ts";
import { detectCgroups, type CgroupLayout } from "../../src/linux/cgroup/index.ts";
import { questions, replay } from "../support/cadvisor-recording.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { GrpcJsClient } from "../support/grpc-js-client.ts";
import { createIn, inPod, Node, pidOf, runIn, start, stop } from "../support/suites/containers.ts";
import {
  launchDaemon,
  leakless,
  NODE,
  POD,
  pod,
  startDaemon,
  until,
} from "../support/suites/pods.ts";

const containerd = "/run/containerd/containerd.sock";
const served = { cadvisor: { serve: "auto", listen: containerd } };

let node: Node;
let daemon: TestDaemon;
let client: GrpcJsClient;

before(async () => {
  node = await Node.startWithBusybox({ config: served });
  daemon = node.daemon;
  client = new GrpcJsClient(containerd);
  // Its connection stays.
  await client.unary(Version.method.version, {});
  // The first pod with a network creates the bridge, which stays.
  await inPod(daemon, pod(), () => Promise.resolve());
});
after(async () => {
  client[Symbol.dispose]();
  await node[Symbol.asyncDispose]();
});

async function taskPid(containerId: string): Promise<number | undefined> {
  try {
    const { process } = await client.unary(Tasks.method.get, { containerId });
    return process?.pid;
  } catch (error) {
    assert.equal((error as { code?: number }).code, 5, String(error));
    return undefined;
  }
}

async function described(id: string): Promise<ContainerMessage> {
  const { container } = await client.unary(Containers.method.get, { id });
  assert.ok(container !== undefined);
  return container;
}

const rootsOf = (layout: CgroupLayout): readonly string[] =>
  layout.version === "v2" ? [layout.root] : layout.hierarchies.map((one) => one.path);

/** The processes in a cgroup, or undefined when no hierarchy has it. */
function processesIn(cgroup: string): readonly string[] | undefined {
  const lists = rootsOf(detectCgroups()).flatMap((root) => {
    try {
      return [readFileSync(path.join(root, cgroup, "cgroup.procs"), "utf8")];
    } catch (error) {
      // ENODEV: it was removed while the file was open.
      if (["ENOENT", "ENODEV"].includes(errnoCode(error) ?? "")) return [];
      throw error;
    }
  });
  return lists.length === 0 ? undefined : lists.flatMap((list) => list.match(/\d+/g) ?? []);
}

describe("cAdvisor's questions", () => {
  test(
    "have the answers of a containerd, byte for byte as they were recorded",
    leakless(
      () => daemon,
      () =>
        inPod(daemon, pod(), async (pod) => {
          const id = await runIn(pod);
          const answers = await replay(containerd, id);
          const { output } = Version.method.version;
          assert.match(
            fromBinary(output, answers.get(questions.version) ?? Buffer.of()).version,
            /^davit /,
          );
          for (const stream of questions.foreign) assert.ok(!answers.has(stream));
          for (const stream of [questions.accept, questions.load]) {
            const { container } = fromBinary(
              Containers.method.get.output,
              answers.get(stream) ?? Buffer.of(),
            );
            assert.equal(container?.id, id);
            assert.equal(container.labels["io.kubernetes.pod.name"], pod.config.metadata?.name);
            assert.equal(container.labels["io.kubernetes.pod.uid"], pod.config.metadata?.uid);
            assert.equal(container.labels["io.cri-containerd.kind"], "container");
          }
          const { process } = fromBinary(
            Tasks.method.get.output,
            answers.get(questions.task) ?? Buffer.of(),
          );
          assert.equal(process?.pid, await pidOf(daemon, id));
        }),
    ),
  );

  test(
    "lead to the network of a pod without a process of its own, as long as a container runs",
    leakless(
      () => daemon,
      () =>
        inPod(daemon, pod(), async (pod) => {
          const cgroup = `${pod.config.linux?.cgroupParent ?? ""}/${pod.id}`;
          assert.equal((await described(pod.id)).labels["io.cri-containerd.kind"], "sandbox");
          assert.equal(await taskPid(pod.id), undefined);
          // cAdvisor must find a container when its cgroup appears, which is in StartContainer.
          const first = await createIn(pod);
          assert.equal((await described(first)).id, first);
          await start(daemon, first);
          await until("the pod has a process", () => taskPid(pod.id));
          assert.equal(await taskPid(pod.id), await pidOf(daemon, first));
          await until("the cgroup is there", () => processesIn(cgroup));
          assert.deepEqual(processesIn(cgroup), []);

          const second = await runIn(pod);
          const pid = await pidOf(daemon, second);
          const inode = statSync(path.join(rootsOf(detectCgroups())[0] ?? "", cgroup)).ino;
          await stop(daemon, first);
          await until(
            "the pod has the second process",
            async () => (await taskPid(pod.id)) === pid,
          );
          // cAdvisor asks for the pid once for each cgroup, so it is another one.
          const inodeNow = (): number =>
            statSync(path.join(rootsOf(detectCgroups())[0] ?? "", cgroup), {
              throwIfNoEntry: false,
            })?.ino ?? inode;
          await until("the cgroup is another one", () => inodeNow() !== inode);
          assert.notEqual(readlinkSync(`/proc/${pid}/ns/net`), readlinkSync("/proc/self/ns/net"));
          await stop(daemon, second);
          await until("the cgroup is gone", () => processesIn(cgroup) === undefined);
          assert.equal(await taskPid(pod.id), undefined);
        }),
    ),
  );

  test(
    "lead to the holder where there is one, and never to the node's network",
    leakless(
      () => daemon,
      async () => {
        await inPod(daemon, pod({ pid: POD }), async (held) => {
          await runIn(held);
          const cgroup = `${held.config.linux?.cgroupParent ?? ""}/${held.id}`;
          const [holder, ...others] = new Set(processesIn(cgroup));
          assert.equal(others.length, 0);
          assert.equal(String(await taskPid(held.id)), holder);
        });
        await inPod(daemon, pod({ network: NODE }), async (shared) => {
          await runIn(shared);
          assert.equal(await taskPid(shared.id), undefined);
        });
      },
    ),
  );

  test("continue after davit was killed and started again", async () => {
    await inPod(daemon, pod(), async (pod) => {
      const id = await runIn(pod);
      await until("the pod has a process", () => taskPid(pod.id));
      await daemon.kill9();
      assert.ok(existsSync(containerd)); // a stale socket
      await launchDaemon(daemon);
      await until("the pod has a process again", () => taskPid(pod.id).catch(() => undefined));
      assert.equal(await taskPid(pod.id), await pidOf(daemon, id));
    });
  });
});

/** Another runtime at the path. */
async function occupy(socket: string): Promise<Server> {
  const server = createServer((connection) => connection.destroy());
  await new Promise<void>((resolve) => {
    server.listen(socket, resolve);
  });
  return server;
}

describe("The path of the socket", () => {
  const own = "/run/davit-cadvisor/containerd.sock";
  const config = { cadvisor: { serve: "always", listen: own } };

  test("is for root alone, and is removed at the end with its directory", async () => {
    const other = await startDaemon({ conflist: null, config });
    try {
      assert.equal(statSync(own).mode & 0o777, 0o600);
      assert.equal(statSync(path.dirname(own)).mode & 0o777, 0o711);
      await other.stop();
      assert.ok(!existsSync(path.dirname(own)));
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  test("is left to another process that serves it", async () => {
    const elsewhere = "/run/other.sock";
    const owner = await occupy(elsewhere);
    const { ino } = statSync(elsewhere);
    const other = await startDaemon({
      conflist: null,
      config: { cadvisor: { serve: "always", listen: elsewhere } },
    });
    try {
      await other.waitForLine(/not serving cAdvisor.*another process serves this socket/);
      await other.stop();
      assert.equal(statSync(elsewhere).ino, ino);
    } finally {
      await other[Symbol.asyncDispose]();
      owner.close();
    }
  });

  test("is left to a process that binds it later", async () => {
    const other = await startDaemon({ conflist: null, config });
    const cadvisor = new GrpcJsClient(own);
    let owner: Server | undefined;
    try {
      await cadvisor.unary(Version.method.version, {});
      unlinkSync(own);
      owner = await occupy(own);
      await other.waitForLine(/stopped serving cAdvisor/);
      // The client must not stay with davit.
      await assert.rejects(cadvisor.unary(Version.method.version, {}));
      await other.stop();
      assert.deepEqual(readdirSync(path.dirname(own)), [path.basename(own)]);
    } finally {
      cadvisor[Symbol.dispose]();
      await other[Symbol.asyncDispose]();
      owner?.close();
    }
  });
});
