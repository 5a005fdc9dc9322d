/** Pods in a user namespace of their own: the ids of processes and files, inside and on the node. */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  globSync,
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
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import {
  type ContainerInit,
  container,
  containerInfo,
  createIn,
  exec,
  inPod,
  Node,
  type Pod,
  pidOf,
  pull,
  requestIn,
  runIn,
  script,
  sh,
  exited,
} from "../support/suites/containers.ts";
import {
  CONTAINER,
  code,
  failsWith,
  fileOf,
  holderOf,
  infoOf,
  inodeOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  mapped,
  listIds,
  type Modes,
  mountAt,
  NODE,
  openDirectories,
  pinsOf,
  POD,
  pod,
  userRange as range,
  runPod,
  statusOf,
  withPod,
} from "../support/suites/pods.ts";

const { hostId: first, length } = range;
const image = "registry.k8s.io/e2e/owners:1";
const declaring = "registry.k8s.io/e2e/declaring:1";
const nothing = "registry.k8s.io/e2e/nothing:1";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = mkdtempSync(path.join(tmpdir(), "davit-users-"));

before(async () => {
  node = await Node.startWithBusybox({
    config: { runtime: { handlers: { runc: { path: "runc" } } } },
  });
  daemon = node.daemon;
  const layers = [
    busyboxLayer("gzip", [{ path: "data/", uid: 1000, gid: 2000 }]),
    ...["a", "b", "c"].map((name) =>
      layerOf([
        { path: "data/", uid: 1000, gid: 2000 },
        { path: `data/${name}`, body: name, uid: 1000, gid: 2000 },
      ]),
    ),
  ];
  await node.registry.push("e2e/owners", imageOf(layers, { Cmd: ["sh"] }), ["1"]);
  await pull(daemon, image);
  const kept = [
    { path: "kept/", uid: 7, gid: 8 },
    { path: "kept/file", body: "", uid: 7, gid: 8 },
  ];
  const single = imageOf([busyboxLayer("gzip", kept)], {
    Cmd: ["sh"],
    Volumes: { "/kept": {}, "/made": {} },
  });
  await node.registry.push("e2e/declaring", single, ["1"]);
  await pull(daemon, declaring);
  await node.registry.push("e2e/nothing", imageOf([], {}), ["1"]);
  await pull(daemon, nothing);
  // The first pod creates the bridge.
  await withPod(daemon, pod(), async () => undefined);
  openDirectories(daemon);
  chmodSync(directory, 0o755);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The body of a test with one running container in such a pod. */
function running(
  config: () => ContainerInit,
  look: (id: string, pod: Pod) => Promise<void>,
  modes: Modes = {},
) {
  return leakless(served, () =>
    inPod(daemon, mapped(modes), async (pod) => {
      await look(await runIn(pod, config()), pod);
    }),
  );
}

const owners = (): ContainerInit => container({ image: { image } });
const idsOf = (pid: number): readonly string[] =>
  ["Uid", "Gid"].map(
    (name) =>
      new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(
        readFileSync(`/proc/${pid}/status`, "utf8"),
      )?.[1] ?? "",
  );

describe("a pod in a user namespace", () => {
  test(
    "is root inside, and an ordinary user on the node",
    running(owners, async (id) => {
      assert.equal(await sh(daemon, id, "id -u; id -g"), "0\n0");
      const map = await sh(daemon, id, "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '");
      assert.equal(map, ` 0 ${first} ${length}\n 0 ${first} ${length}`);
      assert.deepEqual(idsOf(await pidOf(daemon, id)), [String(first), String(first)]);
    }),
  );

  test(
    "sees an image volume of an image without layers, empty and its own",
    running(
      () =>
        container({
          mounts: [{ containerPath: "/none", image: { image: nothing }, readonly: true }],
        }),
      async (id) => {
        assert.equal(await sh(daemon, id, "ls -A /none; stat -c %u:%g /none"), "0:0");
      },
    ),
  );

  test(
    "has the image's files with their owners, and writes them as its own",
    running(owners, async (id) => {
      const before = statSync(layerFile("data/c"));
      const look = "stat -c '%u:%g' /bin/busybox /data /data/a /data/b /data/c";
      assert.equal(
        await sh(daemon, id, look),
        ["0:0", ...Array<string>(4).fill("1000:2000")].join("\n"),
      );
      await sh(daemon, id, "echo more >> /data/a; chown 5:6 /data/b; touch /new; mkdir /data/d");
      assert.equal(
        await sh(daemon, id, "stat -c %u:%g /data/a /data/b /new"),
        "1000:2000\n5:6\n0:0",
      );
      assert.equal(await sh(daemon, id, "cat /data/a"), "amore");
      const upper = path.join(daemon.paths.root, "roots", id, "upper");
      const owner = (file: string): readonly number[] => {
        const { uid, gid } = statSync(path.join(upper, file));
        return [uid, gid];
      };
      assert.deepEqual(owner("."), [first, first]);
      assert.deepEqual(owner("data/a"), [first + 1000, first + 2000]);
      assert.deepEqual(owner("data/b"), [first + 5, first + 6]);
      assert.deepEqual(owner("new"), [first, first]);
      assert.deepEqual(statSync(layerFile("data/c")), before, "the layer is as it was");
      assert.equal(existsSync(path.join(daemon.paths.root, "roots", id, "mapped")), false);
    }),
  );

  test(
    "runs as the requested user",
    running(
      () => container({ linux: { securityContext: { runAsUser: { value: 1000n } } } }),
      async (id) => {
        assert.equal(await sh(daemon, id, "id -u"), "1000");
        assert.equal(idsOf(await pidOf(daemon, id))[0], String(first + 1000));
        assert.notEqual((await exec(daemon, id, ["touch", "/bin/new"])).exitCode, 0);
        assert.equal(
          await sh(daemon, id, "cat /etc/hostname > /dev/null; touch /dev/shm/x; echo ok"),
          "ok",
        );
      },
    ),
  );

  test(
    "owns its files, its /dev/shm and its network",
    running(owners, async (id, { id: sandbox, config }) => {
      const files = "/etc/resolv.conf /etc/hosts /etc/hostname /dev/shm /dev/mqueue";
      const look = `stat -c '%u:%g %a' ${files}`;
      assert.equal(await sh(daemon, id, look), "0:0 644\n0:0 644\n0:0 644\n0:0 1777\n0:0 1777");
      assert.equal(await sh(daemon, id, "hostname"), config.hostname);
      await sh(daemon, id, "echo x > /dev/shm/x; echo '# mine' >> /etc/hosts");
      assert.equal(statSync(path.join(fileOf(daemon, sandbox, "shm"), "x")).uid, first);
      assert.match(await sh(daemon, id, "ip addr"), /LOOPBACK,UP[^]*eth0/);
      assert.equal(await sh(daemon, id, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
      const { network } = await statusOf(daemon, sandbox);
      assert.match(await sh(daemon, id, "ip addr"), new RegExp(` ${network?.ip ?? "?"}/`));
    }),
  );

  test(
    "cannot do to the node what root can",
    running(owners, async (id) => {
      const secret = path.join(directory, "secret");
      writeFileSync(secret, "node's", { mode: 0o600 });
      const pid = await pidOf(daemon, id);
      for (const denied of [
        "echo 1 > /proc/sys/kernel/panic",
        "mknod /tmp/disk b 8 0",
        "mount -t tmpfs none /mnt",
      ]) {
        assert.notEqual((await exec(daemon, id, ["sh", "-c", denied])).exitCode, 0, denied);
      }
      for (const kind of ["user", "net", "ipc", "uts"]) {
        assert.notEqual(inodeOf(`/proc/${pid}/ns/${kind}`), inodeOf(`/proc/self/ns/${kind}`), kind);
      }
    }),
  );

  test(
    "writes the requested sysctls",
    leakless(served, () => {
      const config = mapped();
      assert.ok(config.linux !== undefined);
      config.linux.sysctls = { "kernel.shmmni": "1234", "net.ipv4.ip_forward": "1" };
      return inPod(daemon, config, async (pod) => {
        const id = await runIn(pod, owners());
        const look = "cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward";
        assert.equal(await sh(daemon, id, look), "1234\n1");
      });
    }),
  );
});

/** The file in the layer that has it. */
function layerFile(name: string): string {
  const [found] = globSync(path.join(daemon.paths.root, "layers", "*", "fs", name));
  assert.ok(found !== undefined, `no layer has ${name}`);
  return found;
}

describe("volumes of such a pod", () => {
  test(
    "keep the ids of their files where the request maps them",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const source = path.join(directory, "volume");
        mkdirSync(source);
        writeFileSync(path.join(source, "of-1000"), "");
        chownSync(path.join(source, "of-1000"), 1000, 2000);
        const mapping = { uidMappings: [range], gidMappings: [range] };
        const mounts = [
          { hostPath: source, containerPath: "/mapped", ...mapping },
          { hostPath: source, containerPath: "/ro", readonly: true, ...mapping },
          { hostPath: source, containerPath: "/plain" },
        ];
        const id = await runIn(pod, container({ mounts }));
        const look = "stat -c %u:%g /mapped/of-1000 /ro/of-1000 /plain/of-1000";
        assert.equal(await sh(daemon, id, look), "1000:2000\n1000:2000\n65534:65534");
        await sh(daemon, id, "touch /mapped/new");
        assert.equal(statSync(path.join(source, "new")).uid, 0, "root's on the node, too");
        for (const denied of ["touch /ro/new", "touch /plain/new"]) {
          assert.notEqual((await exec(daemon, id, ["sh", "-c", denied])).exitCode, 0, denied);
        }
        rmSync(source, { recursive: true });
      }),
    ),
  );
});

describe("volumes of images in such a pod", () => {
  test(
    "show the owners in the image",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const mapping = { uidMappings: [range], gidMappings: [range] };
        const volume = { image: { image }, readonly: true, ...mapping };
        const mounts = [
          { ...volume, containerPath: "/whole" },
          { ...volume, containerPath: "/part", imageSubPath: "data" },
          { ...volume, image: { image: declaring }, containerPath: "/single" },
        ];
        const id = await runIn(pod, container({ image: { image: declaring }, mounts }));
        const files = "/whole/data/a /part/b /whole/bin /single/kept /kept /kept/file /made";
        const [theirs, roots] = ["1000:2000", "0:0"];
        const wanted = [theirs, theirs, roots, "7:8", "7:8", "7:8", roots];
        assert.equal(await sh(daemon, id, `stat -c %u:%g ${files}`), wanted.join("\n"));
        await sh(daemon, id, "touch /kept/new /made/new");
        assert.notEqual((await exec(daemon, id, ["touch", "/whole/new"])).exitCode, 0);
      }),
    ),
  );
});

describe("a user namespace and a shared PID namespace", () => {
  test(
    "show the holder, which no process in the pod can trace",
    leakless(served, () =>
      inPod(daemon, mapped({ pid: POD }), async (pod) => {
        const addCapabilities = ["SYS_PTRACE"];
        const id = await runIn(
          pod,
          container({ linux: { securityContext: { capabilities: { addCapabilities } } } }),
        );
        const holder = await holderOf(daemon, pod.id);
        assert.deepEqual(idsOf(holder), [String(first), String(first)]);
        for (const kind of ["user", "net", "ipc", "uts"] as const) {
          assert.equal(
            inodeOf(`/proc/${holder}/ns/${kind}`),
            inodeOf(pinsOf(daemon, pod.id)[kind]),
          );
        }
        assert.match(await sh(daemon, id, "cat /proc/1/comm"), /davit-holder/);
        for (const look of ["ls /proc/1/root/", "ls -l /proc/1/fd", "readlink /proc/1/ns/mnt"]) {
          const said = await exec(daemon, id, ["sh", "-c", look]);
          assert.notEqual(said.exitCode, 0, `${look}: ${said.stdout}`);
        }
        const second = await runIn(pod, owners());
        assert.notEqual(await sh(daemon, second, "pgrep -f 'sleep 100000' | wc -l"), "1");
      }),
    ),
  );
});

describe("a user namespace on the node's network", () => {
  test(
    "has no network of its own, and the node's /sys",
    running(
      owners,
      async (id, { id: sandbox }) => {
        const pid = await pidOf(daemon, id);
        assert.equal(inodeOf(`/proc/${pid}/ns/net`), inodeOf("/proc/self/ns/net"));
        assert.notEqual(inodeOf(`/proc/${pid}/ns/user`), inodeOf("/proc/self/ns/user"));
        assert.equal(
          await sh(daemon, id, "id -u; ls /sys/class/net/lo/mtu"),
          "0\n/sys/class/net/lo/mtu",
        );
        assert.notEqual(
          (await exec(daemon, id, ["sh", "-c", "mkdir /sys/fs/cgroup/*/x"])).exitCode,
          0,
        );
        assert.notEqual(
          (await exec(daemon, id, ["ip", "link", "set", "lo", "mtu", "1000"])).exitCode,
          0,
        );
        assert.equal(mountAt(pinsOf(daemon, sandbox).net), undefined);
        assert.equal(mountAt(pinsOf(daemon, sandbox).user)?.type, "nsfs");
      },
      { network: NODE },
    ),
  );

  test("is offered in the features", async () => {
    const { features } = await daemon.client.runtime.status({});
    assert.equal(features?.userNamespacesHostNetwork, true);
  });
});

describe("status", () => {
  test(
    "has the ids of a pod, and the path of its user namespace",
    leakless(served, () =>
      withPod(daemon, mapped(), async (id) => {
        const { linux } = await statusOf(daemon, id);
        const options = linux?.namespaces?.options?.usernsOptions;
        assert.equal(options?.mode, POD);
        const ranges = [options.uids, options.gids].map(([one]) => [
          one?.containerId,
          one?.hostId,
          one?.length,
        ]);
        assert.deepEqual(ranges, Array(2).fill([0, first, length]));
        const { runtimeSpec } = await infoOf(daemon, id);
        const user = { type: "user", path: pinsOf(daemon, id).user };
        const { namespaces } = (runtimeSpec as { linux: { namespaces: object[] } }).linux;
        assert.deepEqual(namespaces[0], user);
      }),
    ),
  );

  test("offers user namespaces for the handlers whose runtime has id-mapped mounts", async () => {
    const { runtimeHandlers } = await daemon.client.runtime.status({});
    const offered = Object.fromEntries(
      runtimeHandlers.map(({ name, features }) => [name, features?.userNamespaces]),
    );
    assert.equal(offered[""], true);
    assert.equal(offered["crun"], true);
    assert.equal(offered["runc"], false);
  });
});

describe("refusals", () => {
  const bad: Readonly<Record<string, readonly [() => PodSandboxConfig, RegExp]>> = {
    "no mapping": [
      () => mapped({}, { uids: [] }),
      /userns_options\.uids must be one mapping, got 0/,
    ],
    "two mappings": [() => mapped({}, { gids: [range, range] }), /gids must be one mapping, got 2/],
    "no id 0": [
      () => mapped({}, { uids: [{ ...range, containerId: 1 }] }),
      /uids must begin with container_id 0, got 1/,
    ],
    "an empty range": [() => mapped({}, { gids: [{ ...range, length: 0 }] }), /gids has length 0/],
    "a range past the last id": [
      () => mapped({}, { uids: [{ ...range, hostId: 4_294_967_295 }] }),
      /uids must end below 4294967295/,
    ],
    "ids of the node's own namespace": [() => mapped({}, { mode: NODE }), /mode NODE cannot have/],
    "mode CONTAINER": [
      () => mapped({}, { mode: CONTAINER }),
      /mode must be POD or NODE, got CONTAINER/,
    ],
    "the node's processes": [() => mapped({ pid: NODE }), /pid NODE cannot/],
    "the node's IPC": [() => mapped({ ipc: NODE }), /ipc NODE cannot/],
  };
  for (const [what, [config, why]] of Object.entries(bad)) {
    test(
      what,
      leakless(served, async () => {
        await assert.rejects(runPod(daemon, config()), failsWith(code.invalidArgument, why));
        assert.deepEqual(await listIds(daemon), []);
      }),
    );
  }

  test(
    "a handler whose runtime cannot map mounts",
    leakless(served, async () => {
      await assert.rejects(
        runPod(daemon, mapped(), "runc"),
        failsWith(code.failedPrecondition, /handler "runc".*no id-mapped mounts/),
      );
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "a container that is not in its pod's user namespace",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const other = mapped({}, { uids: [{ ...range, hostId: first + 1 }] });
        for (const namespaceOptions of [{}, other.linux?.securityContext?.namespaceOptions ?? {}]) {
          const config = container({ linux: { securityContext: { namespaceOptions } } });
          await assert.rejects(
            daemon.client.runtime.createContainer(requestIn(pod, config)),
            failsWith(code.invalidArgument, /userns_options is not that of the pod/),
          );
        }
      }),
    ),
  );
});

describe("the daemon's end", () => {
  test(
    "does not affect such a pod, and the next daemon restores it",
    leaklessAcross(served, () =>
      inPod(daemon, mapped({ pid: POD }), async (pod) => {
        const id = await runIn(pod, script("trap 'exit 7' TERM; while :; do sleep 0.1; done"));
        const { pid } = await containerInfo(daemon, id);
        const holder = await holderOf(daemon, pod.id);
        await daemon.kill9();
        await launchDaemon(daemon);
        assert.equal((await containerInfo(daemon, id))["pid"], pid);
        assert.equal(await holderOf(daemon, pod.id), holder);
        assert.equal(await sh(daemon, id, "id -u"), "0");
        const created = await createIn(pod, owners());
        await daemon.client.runtime.startContainer({ containerId: created });
        assert.equal(await sh(daemon, created, "stat -c %u /data/a"), "1000");
        await daemon.client.runtime.stopContainer({ containerId: id, timeout: 20n });
        assert.equal((await exited(daemon, id)).exitCode, 7);
      }),
    ),
  );
});
