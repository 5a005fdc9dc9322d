/**
 * Pods that ask for no user namespace where `runtime.user_namespaces` is "auto": ids of their own, volumes and kubelet's
 * files with their owners, and pods that need the ids of the node.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Davit } from "../support/suites/cli.ts";
import {
  type ContainerInit,
  container,
  createIn,
  inPod,
  Node,
  pidOf,
  type Pod,
  pull,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  inodeOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  mapped,
  NODE,
  NOTREADY,
  openDirectories,
  output,
  pod,
  POD,
  READY,
  statusOf,
  withPod,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const first = 700_000;
const length = 65_536;
const config = {
  runtime: {
    user_namespaces: "auto",
    user_namespace_first_id: first,
    handlers: { requested: { path: "crun", user_namespaces: "requested" } },
  },
};
/** For volumes. All users may enter it. */
const directory = mkdtempSync(path.join(tmpdir(), "davit-auto-"));
/** A directory of the node in which a file system is mounted. */
const outer = path.join(directory, "outer");
const inner = path.join(outer, "inner");
const volumeImage = "registry.k8s.io/e2e/volume:1";

before(async () => {
  node = await Node.startWithBusybox({ config });
  daemon = node.daemon;
  openDirectories(daemon);
  chmodSync(directory, 0o755);
  mkdirSync(inner, { recursive: true });
  await output("mount", "-t", "tmpfs", "tmpfs", inner);
  const files = [{ path: "model", body: "model", uid: 5, gid: 6 }];
  await node.registry.push("e2e/volume", imageOf([busyboxLayer(), layerOf(files)], {}), ["1"]);
  await pull(daemon, volumeImage);
  // The first pod creates the bridge.
  await withPod(daemon, pod(), async () => undefined);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  await output("umount", inner);
  rmSync(directory, { recursive: true });
});

/** What davit decided about a pod's ids. */
interface OwnIds {
  readonly range?: { readonly hostId: number; readonly length: number };
  readonly reason?: string;
}

async function ownIdsOf(podSandboxId: string): Promise<OwnIds | undefined> {
  const { info } = await daemon.client.runtime.podSandboxStatus({ podSandboxId, verbose: true });
  return (JSON.parse(info["info"] ?? "{}") as { readonly ownIds?: OwnIds }).ownIds;
}

/** That the pod has a range of its own, and the first id of it. */
async function hostIdOf(at: Pick<Pod, "id">): Promise<number> {
  const { range } = (await ownIdsOf(at.id)) ?? {};
  assert.ok(range !== undefined, "it has ids of its own");
  assert.equal(range.length, length);
  return range.hostId;
}

const isMapped = async (id: string): Promise<boolean> =>
  inodeOf(`/proc/${await pidOf(daemon, id)}/ns/user`) !== inodeOf("/proc/self/ns/user");

describe("a pod that asks for nothing", () => {
  test(
    "has a range that no other pod has, as root inside and nobody on the node",
    leakless(served, () =>
      inPod(daemon, pod(), (one) =>
        inPod(daemon, pod({ pid: POD }), async (other) => {
          assert.deepEqual([await hostIdOf(one), await hostIdOf(other)], [first, first + length]);
          for (const at of [one, other]) {
            const id = await runIn(at);
            const from = await hostIdOf(at);
            const map = await sh(daemon, id, "id -u; tr -s ' ' </proc/self/uid_map");
            assert.equal(map, `0\n 0 ${from} ${length}`);
            assert.equal(statSync(`/proc/${await pidOf(daemon, id)}`).uid, from);
            assert.equal(
              await sh(daemon, id, "cat /proc/sys/net/ipv4/ping_group_range"),
              "0\t65535",
            );
          }
          const said = await new Davit(daemon).done("why", one.id);
          assert.match(said, /ids of its own: 700000 to 765535/);
        }),
      ),
    ),
  );

  test(
    "has volumes with the owners of the node: kubelet's files, a volume's subdirectory, an image",
    leakless(served, () =>
      inPod(daemon, pod(), async (at) => {
        const volume = path.join(directory, "volume");
        mkdirSync(path.join(volume, "sub"), { recursive: true });
        chownSync(path.join(volume, "sub"), 1000, 2000);
        // As kubelet makes them: a token for the pod's group, and the termination log for everybody.
        const token = path.join(directory, "token");
        writeFileSync(token, "token", { mode: 0o640 });
        chownSync(token, 0, 2000);
        const log = path.join(directory, "termination-log");
        writeFileSync(log, "");
        chmodSync(log, 0o666);
        const mounts = [
          { containerPath: "/volume", hostPath: volume },
          { containerPath: "/sub", hostPath: path.join(volume, "sub") },
          { containerPath: "/token", hostPath: token, readonly: true },
          { containerPath: "/dev/termination-log", hostPath: log },
          { containerPath: "/image", image: { image: volumeImage }, readonly: true },
        ];
        const securityContext = { runAsUser: { value: 1000n }, supplementalGroups: [2000n] };
        const linux = { securityContext };
        const id = await runIn(at, container({ mounts, linux }));
        const look = "stat -c '%n %u:%g' /sub /token /dev/termination-log /image/model";
        assert.equal(
          await sh(daemon, id, look),
          "/sub 1000:2000\n/token 0:2000\n/dev/termination-log 0:0\n/image/model 5:6",
        );
        await sh(daemon, id, "cat /token >/sub/made && echo ended >/dev/termination-log");
        assert.equal(readFileSync(log, "utf8"), "ended\n");
        const made = statSync(path.join(volume, "sub/made"));
        assert.equal(made.uid, 1000);
        assert.ok(await isMapped(id));
        const root = await runIn(at, container({ mounts }));
        await sh(daemon, root, "touch /volume/root && chown 7:8 /volume/root");
        const { uid, gid } = statSync(path.join(volume, "root"));
        assert.deepEqual([uid, gid], [7, 8]);
        rmSync(volume, { recursive: true });
      }),
    ),
  );

  test(
    "keeps its range when the daemon is killed, and gives it back when it is removed",
    leaklessAcross(served, () =>
      inPod(daemon, pod({ pid: POD }), async (at) => {
        const id = await runIn(at);
        const from = await hostIdOf(at);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.equal(await hostIdOf(at), from);
        assert.equal(await sh(daemon, id, "id -u"), "0");
        assert.ok(await isMapped(await runIn(at)));
        await inPod(daemon, pod(), async (other) => {
          assert.equal(await hostIdOf(other), first + length);
        });
      }),
    ),
  );

  test(
    "does not get ids that a pod has which asked for them",
    leakless(served, () => {
      const asked = mapped();
      const options = asked.linux?.securityContext?.namespaceOptions?.usernsOptions;
      for (const mapping of [...(options?.uids ?? []), ...(options?.gids ?? [])]) {
        mapping.hostId = first + 10;
      }
      return inPod(daemon, asked, async (one) => {
        assert.equal(await ownIdsOf(one.id), undefined);
        await inPod(daemon, pod(), async (other) => {
          assert.equal(await hostIdOf(other), first + 2 * length);
        });
      });
    }),
  );
});

describe("a pod that needs the ids of the node has them, and the reason is reported", () => {
  const privileged = pod();
  if (privileged.linux?.securityContext !== undefined) {
    privileged.linux.securityContext.privileged = true;
  }
  for (const [what, wanted, reason] of [
    ["on the node's network", pod({ network: NODE }), /network/],
    ["with the node's processes", pod({ pid: NODE }), /processes/],
    ["with privileged containers", privileged, /privileged/],
  ] as const) {
    test(
      what,
      leakless(served, () =>
        inPod(daemon, wanted, async (at) => {
          const ids = await ownIdsOf(at.id);
          assert.match(ids?.reason ?? "", reason);
          assert.equal(ids?.range, undefined);
          assert.ok(!(await isMapped(await runIn(at))));
          const said = daemon.lines.filter(({ text }) => text.includes("has the ids of the node"));
          assert.match(String(said.at(-1)?.fields["reason"]), reason);
        }),
      ),
    );
  }

  test(
    "of a handler with user_namespaces = requested",
    leakless(served, () =>
      inPod(
        daemon,
        pod(),
        async (at) => {
          assert.equal(await ownIdsOf(at.id), undefined);
          assert.ok(!(await isMapped(await runIn(at))));
        },
        "requested",
      ),
    ),
  );
});

describe("a container that needs the ids of the node", () => {
  const secured = (context: ContainerInit["linux"]): ContainerInit => container({ linux: context });
  const cases: readonly (readonly [string, ContainerInit, RegExp])[] = [
    [
      "uses a device",
      container({
        devices: [{ hostPath: "/dev/null", containerPath: "/dev/x", permissions: "rw" }],
      }),
      /uses devices of the node/,
    ],
    [
      "has a capability that acts on the node",
      secured({ securityContext: { capabilities: { addCapabilities: ["SYS_TIME"] } } }),
      /SYS_TIME/,
    ],
    [
      "runs with an id that its pod does not have",
      secured({ securityContext: { runAsUser: { value: 1_000_650_000n } } }),
      /id 1000650000/,
    ],
    [
      "mounts a file system without ID-mapped mounts",
      container({ mounts: [{ containerPath: "/node", hostPath: "/proc/sys", readonly: true }] }),
      /"\/proc\/sys", whose file system has no ID-mapped mounts/,
    ],
    [
      "mounts a directory of the node with a file system in it",
      container({ mounts: [{ containerPath: "/node", hostPath: outer, readonly: true }] }),
      /with the file system at ".*\/outer\/inner" in it/,
    ],
  ];
  for (const [what, wanted, reason] of cases) {
    test(
      `${what}: it is refused, and the next sandbox of its pod has them`,
      leakless(served, async () => {
        const wantedPod = pod();
        await inPod(daemon, wantedPod, async (at) => {
          await hostIdOf(at);
          const refused = failsWith(code.failedPrecondition, /run a new sandbox of the pod/);
          await assert.rejects(createIn(at, wanted), refused);
          const { state } = await statusOf(daemon, at.id);
          assert.equal(state, NOTREADY);
          assert.match(await new Davit(daemon).done("why", at.id), reason);
          const next = structuredClone(wantedPod);
          if (next.metadata !== undefined) next.metadata.attempt += 1;
          await inPod(daemon, next, async (again) => {
            assert.equal((await statusOf(daemon, again.id)).state, READY);
            const { range, reason: why } = (await ownIdsOf(again.id)) ?? {};
            assert.equal(range, undefined);
            assert.match(why ?? "", reason);
            assert.ok(!(await isMapped(await runIn(again, structuredClone(wanted)))));
          });
        });
      }),
    );
  }

  test(
    "in a pod with other containers is refused, and the pod continues",
    leakless(served, () =>
      inPod(daemon, pod(), async (at) => {
        const from = await hostIdOf(at);
        // As an init container that has ended, and a container that runs.
        const ended = await runIn(at);
        await daemon.client.runtime.stopContainer({ containerId: ended, timeout: 0n });
        const running = await runIn(at);
        const wanted = secured({
          securityContext: { capabilities: { addCapabilities: ["SYS_ADMIN"] } },
        });
        for (let retry = 0; retry < 2; retry++) {
          const refused = failsWith(code.failedPrecondition, /user_namespaces = "requested"/);
          await assert.rejects(createIn(at, wanted), refused);
        }
        assert.equal((await statusOf(daemon, at.id)).state, READY);
        assert.equal(await sh(daemon, running, "id -u"), "0");
        const { status } = await daemon.client.runtime.containerStatus({ containerId: ended });
        assert.equal(status?.exitCode, 137);
        const said = await new Davit(daemon).done("why", at.id);
        assert.match(said, /ids of its own: \d+ to \d+/);
        assert.match(said, /its next sandbox has the ids of the node: .*SYS_ADMIN/);
        assert.equal(await hostIdOf(at), from);
        assert.ok(await isMapped(await runIn(at)));
      }),
    ),
  );
});
