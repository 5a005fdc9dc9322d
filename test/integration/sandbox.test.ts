/** The lifecycle of a pod sandbox through the socket, checked with the state of the kernel. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { NamespaceMode } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readProcesses } from "../support/snapshot/processes.ts";
import {
  bare,
  CONTAINER,
  cgroupDirectories,
  cgroupsOfProcess,
  cgroupsThere,
  code,
  endDaemon,
  failsWith,
  fileOf,
  holderOf,
  hostInode,
  inodeOf,
  infoOf,
  inside,
  leakless,
  listIds,
  mountAt,
  NODE,
  NOTREADY,
  openDirectories,
  output,
  parentOf,
  pinsOf,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  startDaemon,
  statusOf,
  stopPod,
  until,
  withPod,
} from "../support/suites/pods.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
  openDirectories(daemon);
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => endDaemon(daemon));

const modeNames = { [POD]: "POD", [CONTAINER]: "CONTAINER", [NODE]: "NODE" };
const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] as const;

describe("RunPodSandbox", () => {
  for (const network of [POD, NODE] as const) {
    for (const ipc of [POD, NODE] as const) {
      for (const pid of [POD, CONTAINER, NODE] as const) {
        const name = [network, pid, ipc].map((mode) => modeNames[mode]).join(", ");
        test(
          `creates the requested namespaces: network, pid, ipc ${name}`,
          leakless(served, () => checkLife({ network, pid, ipc })),
        );
      }
    }
  }

  test(
    "brings lo up, gives eth0 the address of the status and a way out",
    leakless(served, () =>
      withPod(daemon, pod(), async (id) => {
        const { network } = await statusOf(daemon, id);
        assert.match(network?.ip ?? "", /^10\.92\.\d+\.\d+$/);
        const links = await inside(daemon, id, ["net"], "ip", "-json", "address");
        const found = JSON.parse(links) as {
          ifname: string;
          flags: string[];
          addr_info: { local: string }[];
        }[];
        const lo = found.find(({ ifname }) => ifname === "lo");
        assert.ok(lo?.flags.includes("UP"));
        assert.ok(lo?.addr_info.some(({ local }) => local === "127.0.0.1"));
        const eth0 = found.find(({ ifname }) => ifname === "eth0");
        assert.ok(eth0?.flags.includes("UP"));
        assert.ok(eth0?.addr_info.some(({ local }) => local === network?.ip));
        assert.match(
          await inside(daemon, id, ["net"], "ip", "route"),
          /^default via 10\.92\.0\.1/m,
        );
      }),
    ),
  );

  test(
    "sets the hostname of the pod, and no other",
    leakless(served, () =>
      withPod(daemon, pod({}, { hostname: "inside-1" }), async (id) => {
        assert.equal((await inside(daemon, id, ["uts"], "hostname")).trim(), "inside-1");
        assert.equal((await output("hostname")).trim(), hostname());
        assert.equal(readFileSync(fileOf(daemon, id, "hostname"), "utf8"), "inside-1\n");
      }),
    ),
  );

  test(
    "keeps the final dot of the FQDN that a kubelet without a cluster domain sends",
    leakless(served, () =>
      withPod(daemon, pod({}, { hostname: "pod.subdomain.ns.svc." }), async (id) => {
        const name = "pod.subdomain.ns.svc.";
        assert.equal((await inside(daemon, id, ["uts"], "hostname")).trim(), name);
        assert.equal(readFileSync(fileOf(daemon, id, "hostname"), "utf8"), `${name}\n`);
      }),
    ),
  );

  test(
    "gives a pod without a hostname the node's",
    leakless(served, () =>
      withPod(daemon, pod({}, { hostname: "" }), async (id) => {
        assert.equal((await inside(daemon, id, ["uts"], "hostname")).trim(), hostname());
        assert.equal(readFileSync(fileOf(daemon, id, "hostname"), "utf8"), `${hostname()}\n`);
      }),
    ),
  );

  test(
    "writes sysctls into the pod's namespaces and leaves the host's alone",
    leakless(served, async () => {
      const names = ["net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range"];
      const mine = {
        "net.ipv4.tcp_syncookies": "0",
        "net/ipv4/ip_forward": "1",
        "kernel.shmmax": "65536",
      };
      const look = ["net.ipv4.tcp_syncookies", "kernel.shmmax", ...names];
      const beforehand = await output("sysctl", "-n", ...look);
      const config = pod();
      assert.ok(config.linux !== undefined);
      config.linux.sysctls = mine;
      await withPod(daemon, config, async (id) => {
        const within = await inside(daemon, id, ["net", "ipc"], "sysctl", "-n", ...look);
        assert.deepEqual(within.trim().split("\n"), ["0", "65536", "0", "0\t2147483647"]);
        assert.equal(await output("sysctl", "-n", ...look), beforehand);
      });
    }),
  );

  test(
    "writes resolv.conf from the DNS config, 0644",
    leakless(served, () =>
      withPod(
        daemon,
        pod(
          {},
          {
            dnsConfig: {
              servers: ["10.96.0.10", "fd00::a"],
              searches: ["a.example", "b.example"],
              options: ["ndots:5"],
            },
          },
        ),
        async (id) => {
          const file = fileOf(daemon, id, "resolv.conf");
          const text = readFileSync(file, "utf8");
          assert.deepEqual(text.trim().split("\n"), [
            "search a.example b.example",
            "nameserver 10.96.0.10",
            "nameserver fd00::a",
            "options ndots:5",
          ]);
          assert.equal(statSync(file).mode & 0o7777, 0o644);
        },
      ),
    ),
  );

  test(
    "copies the host's resolv.conf and hosts by default",
    leakless(served, () =>
      withPod(daemon, pod(), async (id) => {
        for (const name of ["resolv.conf", "hosts"]) {
          const file = fileOf(daemon, id, name);
          const host = existsSync(`/etc/${name}`) ? readFileSync(`/etc/${name}`, "utf8") : "";
          assert.equal(readFileSync(file, "utf8"), host);
          assert.equal(statSync(file).mode & 0o7777, 0o644);
        }
        const file = fileOf(daemon, id, "hostname");
        assert.notEqual(readFileSync(file, "utf8"), "");
        assert.equal(statSync(file).mode & 0o7777, 0o644);
        // Other users may enter the directory but not list it, because it shows the ids of all pods.
        await assert.rejects(
          output(...nobody, "ls", fileOf(daemon, id, "..")),
          /Permission denied/,
        );
      }),
    ),
  );

  test(
    "keeps the files of a pod on a tmpfs with little free space",
    leakless(served, () =>
      withPod(daemon, pod(), async (id) => {
        const directory = fileOf(daemon, id, "");
        assert.equal(mountAt(path.dirname(fileOf(daemon, id, "hosts")))?.type, "tmpfs");
        const { bavail, bsize, ffree } = statfsSync(directory);
        const room = bavail * bsize;
        assert.ok(room >= 64 * 1024 && room <= 256 * 1024, `${room} bytes are free`);
        assert.ok(ffree > 0 && ffree <= 16, `${ffree} inodes are free`);
      }),
    ),
  );

  test(
    "copies a hosts file of any size",
    leakless(served, async () => {
      const large = path.join(daemon.paths.directory, "hosts");
      writeFileSync(large, "127.0.0.1 blocked.example\n".repeat(100_000));
      await output("mount", "--bind", large, "/etc/hosts");
      try {
        await withPod(daemon, pod(), async (id) => {
          assert.deepEqual(readFileSync(fileOf(daemon, id, "hosts")), readFileSync(large));
        });
      } finally {
        await output("umount", "/etc/hosts");
        rmSync(large);
      }
    }),
  );

  test(
    "mounts a /dev/shm of 64 MiB that every user in the pod can write to",
    leakless(served, () =>
      withPod(daemon, pod(), async (id) => {
        const shm = fileOf(daemon, id, "shm");
        assert.equal(mountAt(shm)?.type, "tmpfs");
        const { blocks, bsize } = statfsSync(shm);
        assert.equal(blocks * bsize, 64 * 1024 * 1024);
        assert.equal(statSync(shm).mode & 0o7777, 0o1777);
      }),
    ),
  );

  test(
    "keeps a pod-wide PID namespace with a holder that is its init and reaps",
    leakless(served, async () => {
      const config = pod({ pid: POD });
      await withPod(daemon, config, async (id) => {
        const pid = await holderOf(daemon, id);
        const numbers = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
        assert.equal(numbers?.split(/\s+/).at(-1), "1");
        assert.notEqual(inodeOf(`/proc/${pid}/ns/pid`), hostInode("pid"));
        for (const cgroup of cgroupsOfProcess(pid)) {
          assert.equal(cgroup, `${parentOf(config)}/${id}`);
        }
        const children = (): number[] =>
          readProcesses()
            .filter(({ ppid }) => ppid === pid)
            .map((entry) => entry.pid);
        assert.deepEqual(children(), []);
        await output(
          "nsenter",
          `--pid=/proc/${pid}/ns/pid`,
          "sh",
          "-c",
          "sleep 0.3 >/dev/null 2>&1 &",
        );
        await until("the orphan is the holder's child", () => children().length === 1);
        await until("the holder has reaped it", () => children().length === 0);
      });
    }),
  );

  test(
    "starts its holder in a session of its own, with nothing open and nothing in its environment",
    leakless(served, () =>
      withPod(daemon, pod({ pid: POD }), async (id) => {
        const pid = await holderOf(daemon, id);
        assert.equal(readFileSync(`/proc/${pid}/environ`, "utf8"), "");
        const open = await output("find", `/proc/${pid}/fd`, "-type", "l", "-printf", "%l\\n");
        assert.deepEqual(
          [
            ...new Set(
              open
                .trim()
                .split("\n")
                .filter((line) => line !== ""),
            ),
          ].filter((line) => line !== "/dev/null"),
          [],
        );
        const session = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3];
        assert.equal(session, String(pid));
      }),
    ),
  );

  test(
    "refuses a name in use, and names the id of its sandbox; another attempt is another name",
    leakless(served, async () => {
      const config = bare();
      const id = await runPod(daemon, config);
      await assert.rejects(runPod(daemon, config), failsWith(code.alreadyExists, new RegExp(id)));
      assert.ok(config.metadata !== undefined);
      const retried = { ...config, metadata: { ...config.metadata, attempt: 1 } };
      const second = await runPod(daemon, retried);
      assert.deepEqual(await listIds(daemon), [id, second]);
      await removePod(daemon, id);
      // The name is free again, even if the other attempt failed.
      const third = await runPod(daemon, config);
      assert.notEqual(third, id);
      for (const each of [second, third]) await removePod(daemon, each);
    }),
  );

  test(
    "keeps apart pods whose names differ only in where an underscore is",
    leakless(served, async () => {
      const names = [
        { name: "a_b", namespace: "c", uid: "u", attempt: 0 },
        { name: "a", namespace: "b_c", uid: "u", attempt: 0 },
      ];
      const ids: string[] = [];
      for (const metadata of names) ids.push(await runPod(daemon, bare({ metadata })));
      for (const id of ids) await removePod(daemon, id);
    }),
  );

  test(
    "runs many pods at once, each with an address of its own",
    leakless(served, async () => {
      const ids = await Promise.all(
        Array.from({ length: 8 }, () => runPod(daemon, pod({ pid: POD }))),
      );
      const ips = await Promise.all(
        ids.map(async (id) => (await statusOf(daemon, id)).network?.ip),
      );
      assert.equal(new Set(ips).size, 8);
      await Promise.all(ids.map((id) => removePod(daemon, id)));
    }),
  );
});

async function checkLife(modes: {
  network: NamespaceMode;
  pid: NamespaceMode;
  ipc: NamespaceMode;
}): Promise<void> {
  const config = pod(modes);
  const id = await runPod(daemon, config);
  const pins = pinsOf(daemon, id);
  const own = { net: modes.network === POD, uts: modes.network === POD, ipc: modes.ipc === POD };
  for (const kind of ["net", "uts", "ipc"] as const) {
    const pinned = mountAt(pins[kind])?.type === "nsfs";
    assert.equal(pinned, own[kind], `${kind} namespace pinned`);
    if (pinned) assert.notEqual(inodeOf(pins[kind]), hostInode(kind));
    else assert.equal(existsSync(pins[kind]), false);
  }
  assert.equal(mountAt(fileOf(daemon, id, "shm"))?.type, own.ipc ? "tmpfs" : undefined);

  const status = await statusOf(daemon, id);
  assert.equal(status.state, READY);
  assert.equal(status.network?.ip !== "", own.net);
  const info = await infoOf(daemon, id);
  if (modes.pid === POD) await checkHolder(await holderOf(daemon, id), pins, own);
  else assert.equal(info["pid"], 0);
  assert.equal(cgroupsThere(parentOf(config)).length, cgroupDirectories("/").length);

  await stopPod(daemon, id);
  const stopped = await statusOf(daemon, id);
  assert.equal(stopped.state, NOTREADY);
  assert.equal(stopped.network?.ip, "");
  assert.equal(stopped.createdAt, status.createdAt);
  for (const pin of Object.values(pins)) assert.equal(existsSync(pin), false);
  if (modes.pid === POD) assert.equal(existsSync(`/proc/${String(info["pid"])}`), false);
  await removePod(daemon, id);
  await assert.rejects(statusOf(daemon, id), failsWith(code.notFound, new RegExp(id)));
  assert.deepEqual(cgroupsThere(parentOf(config)), []);
}

async function checkHolder(
  pid: number,
  pins: ReturnType<typeof pinsOf>,
  own: Readonly<Record<"net" | "uts" | "ipc", boolean>>,
): Promise<void> {
  for (const kind of ["net", "uts", "ipc"] as const) {
    const wanted = own[kind] ? inodeOf(pins[kind]) : hostInode(kind);
    assert.equal(inodeOf(`/proc/${pid}/ns/${kind}`), wanted, `${kind} namespace of the holder`);
  }
}
