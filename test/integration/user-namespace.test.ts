/** Pods in a user namespace of their own: the ids of processes and files, inside and on the node. */
import assert from "node:assert/strict";
import { existsSync, globSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import {
  container,
  containerInfo,
  createIn,
  exec,
  inPod,
  pidOf,
  runIn,
  script,
  sh,
  exited,
} from "../support/suites/containers.ts";
import {
  fileOf,
  holderOf,
  inodeOf,
  launchDaemon,
  leakless,
  leaklessAcross,
  mapped,
  mountAt,
  NODE,
  pinsOf,
  POD,
  userRange as range,
  statusOf,
} from "../support/suites/pods.ts";
import {
  daemon,
  directory,
  idsOf,
  nothing,
  owners,
  running,
  served,
  serveMappedPods,
} from "../support/suites/mapped-pods.ts";

const { hostId: first, length } = range;

serveMappedPods();

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
