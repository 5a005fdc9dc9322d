/** The process of a container, checked in /proc and in its cgroups. */
// variants: shim
import assert from "node:assert/strict";
import { readFileSync, readlinkSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type RunConfig } from "../support/images.ts";
import {
  type ContainerInit,
  container,
  createIn,
  exec,
  inPod,
  Node,
  pidOf,
  pull,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupsOfProcess,
  cgroupValue,
  code,
  failsWith,
  leakless,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

const images = {
  entry: { Entrypoint: ["/bin/busybox"], Cmd: ["sleep", "100001"] },
  cmd: { Cmd: ["sleep", "100002"], WorkingDir: "/made/here" },
  none: {},
  app: { User: "app", Cmd: ["sleep", "100003"] },
  numbers: { User: "1234:4321", Cmd: ["sleep", "100004"] },
  named: { User: "app:extra", Cmd: ["sleep", "100008"] },
  mixed: { User: "1000:extra", Cmd: ["sleep", "100009"] },
  stranger: { User: "stranger", Cmd: ["sleep", "100005"] },
  env: { Env: ["PATH=/bin", "A=image", "B=image"], Cmd: ["sleep", "100006"] },
  volume: { Volumes: { "/home": {} }, Cmd: ["sleep", "100007"] },
} satisfies Record<string, RunConfig>;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  const layer = busyboxLayer();
  for (const [name, run] of Object.entries(images)) {
    await node.registry.push(`t/${name}`, imageOf([layer], run), ["1"]);
    await pull(daemon, `registry.k8s.io/t/${name}:1`);
  }
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

/** A container of one of the images above, with nothing else asked for. */
function of(image: keyof typeof images, changes: ContainerInit = {}): ContainerInit {
  const { command: _, ...config } = container({ image: { image: `registry.k8s.io/t/${image}:1` } });
  return { ...config, ...changes };
}

/** The body of a test with one running container. */
function running(
  config: () => ContainerInit,
  look: (pid: number, id: string) => Promise<void> | void,
) {
  return leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const id = await runIn(pod, config());
      await look(await pidOf(daemon, id), id);
    }),
  );
}

function procFile(pid: number, name: string): string {
  return readFileSync(`/proc/${pid}/${name}`, "utf8");
}

/** A line of /proc/PID/status. */
function statusLine(pid: number, name: string): string {
  return new RegExp(`^${name}:\\s*(.*?)\\s*$`, "m").exec(procFile(pid, "status"))?.[1] ?? "";
}

function environ(pid: number): ReadonlyMap<string, string> {
  const pairs = procFile(pid, "environ")
    .split("\0")
    .filter((line) => line !== "");
  return new Map(pairs.map((line) => [line.replace(/=.*/s, ""), line.replace(/^[^=]*=/, "")]));
}

describe("the command line", () => {
  const cases: Record<string, readonly [ContainerInit, string]> = {
    "is entrypoint and cmd of the image": [of("entry"), "/bin/busybox sleep 100001"],
    "is the entrypoint with the request's args": [
      of("entry", { args: ["sleep", "100011"] }),
      "/bin/busybox sleep 100011",
    ],
    "is the request's command alone, without the image's cmd": [
      of("entry", { command: ["/bin/sleep", "100012"] }),
      "/bin/sleep 100012",
    ],
    "is the request's command and args": [
      of("entry", { command: ["/bin/sleep"], args: ["100013"] }),
      "/bin/sleep 100013",
    ],
    "is the image's cmd": [of("cmd"), "sleep 100002"],
  };
  for (const [what, [config, want]] of Object.entries(cases)) {
    test(
      what,
      running(
        () => config,
        (pid) => {
          assert.equal(procFile(pid, "cmdline").replaceAll("\0", " ").trim(), want);
        },
      ),
    );
  }

  test(
    "is required from the image or the request",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        await assert.rejects(createIn(pod, of("none")), failsWith(code.invalidArgument, /command/));
      }),
    ),
  );
});

test(
  "the environment is the image's, with the request's over it, and a HOSTNAME",
  running(
    () =>
      of("env", {
        envs: [
          { key: "B", value: Buffer.from("request") },
          { key: "EMPTY", value: Buffer.from("") },
        ],
      }),
    (pid) => {
      const env = environ(pid);
      assert.equal(env.get("PATH"), "/bin");
      assert.equal(env.get("A"), "image");
      assert.equal(env.get("B"), "request");
      assert.equal(env.get("EMPTY"), "");
      assert.ok(env.get("HOSTNAME") !== undefined);
    },
  ),
);

describe("the working directory", () => {
  for (const [what, config, want] of [
    ["is / where nobody says otherwise", () => container(), "/"],
    ["is the image's, and made", () => of("cmd"), "/made/here"],
    ["is the request's, and made", () => of("cmd", { workingDir: "/a/b" }), "/a/b"],
  ] as const) {
    test(
      what,
      running(config, (pid) => {
        assert.equal(readlinkSync(`/proc/${pid}/cwd`), want);
      }),
    );
  }
});

describe("the user", () => {
  const context = (securityContext: object): ContainerInit => ({ linux: { securityContext } });
  const cases: readonly (readonly [string, () => ContainerInit, string, string, string])[] = [
    ["is root where nobody says otherwise", () => container(), "0", "0", "0"],
    ["is the image's by name, with its groups", () => of("app"), "1000", "1000", "1000 2000"],
    ["is the image's by numbers", () => of("numbers"), "1234", "4321", "4321"],
    ["is the image's by name and group's name", () => of("named"), "1000", "2000", "2000"],
    ["is the image's by number and group's name", () => of("mixed"), "1000", "2000", "2000"],
    [
      "is the request's by name",
      () => container(context({ runAsUsername: "app" })),
      "1000",
      "1000",
      "1000 2000",
    ],
    [
      "is the request's by uid, with its group from the image",
      () => container(context({ runAsUser: { value: 1000n } })),
      "1000",
      "1000",
      "1000 2000",
    ],
    [
      "can be a uid without a passwd entry, with group 0",
      () => container(context({ runAsUser: { value: 4242n } })),
      "4242",
      "0",
      "0",
    ],
    [
      "comes from the request rather than from the image",
      () => of("app", context({ runAsUser: { value: 0n } })),
      "0",
      "0",
      "0",
    ],
    [
      "has the request's group",
      () => container(context({ runAsUser: { value: 5n }, runAsGroup: { value: 6n } })),
      "5",
      "6",
      "6",
    ],
    [
      "has supplemental groups",
      () => container(context({ supplementalGroups: [3000n, 2999n] })),
      "0",
      "0",
      "0 2999 3000",
    ],
    [
      "has no groups of the image with policy Strict",
      () =>
        container(
          context({ runAsUsername: "app", supplementalGroupsPolicy: 1, supplementalGroups: [7n] }),
        ),
      "1000",
      "1000",
      "7 1000",
    ],
  ];
  for (const [what, config, uid, gid, groups] of cases) {
    test(
      what,
      running(config, (pid) => {
        assert.equal(statusLine(pid, "Uid"), Array(4).fill(uid).join("\t"));
        assert.equal(statusLine(pid, "Gid"), Array(4).fill(gid).join("\t"));
        assert.equal(statusLine(pid, "Groups"), groups);
      }),
    );
  }

  test(
    "that the image does not have fails the create",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const created = createIn(pod, of("stranger"));
        await assert.rejects(created, failsWith(code.invalidArgument, /stranger.*\/etc\/passwd/));
      }),
    ),
  );
});

describe("the root", () => {
  test(
    "is writable, and belongs to one container",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const [a, b] = [await runIn(pod), await runIn(pod)];
        await sh(daemon, a, "echo mine > /file; rm /etc/passwd");
        assert.equal((await exec(daemon, b, ["cat", "/file"])).exitCode, 1);
        await sh(daemon, b, "cat /etc/passwd");
      }),
    ),
  );

  test(
    "is read-only if requested",
    running(
      () => container({ linux: { securityContext: { readonlyRootfs: true } } }),
      async (_pid, id) => {
        const said = await exec(daemon, id, ["touch", "/file"]);
        assert.equal(said.exitCode, 1);
        assert.match(said.stderr, /Read-only file system/);
        await sh(daemon, id, "touch /dev/shm/file");
      },
    ),
  );
});

describe("ulimits", () => {
  const limit = (name: string, soft: bigint, hard: bigint) => ({ name, soft, hard });
  const of = (...ulimits: ReturnType<typeof limit>[]): ContainerInit =>
    container({ linux: { securityContext: { ulimits } } });

  test(
    "are those of the process and of commands in the container",
    running(
      () =>
        of(limit("nofile", 100n, 200n), limit("core", 0n, 4096n), limit("stack", 262_144n, -1n)),
      async (pid, id) => {
        const limits = (text: string): unknown =>
          ["open files", "core file size", "stack size"].map((name) =>
            new RegExp(`^Max ${name} +(\\S+) +(\\S+)`, "m").exec(text)?.slice(1),
          );
        const expected = [
          ["100", "200"],
          ["0", "4096"],
          ["262144", "unlimited"],
        ];
        assert.deepEqual(limits(procFile(pid, "limits")), expected);
        assert.deepEqual(limits(await sh(daemon, id, "cat /proc/self/limits")), expected);
      },
    ),
  );

  test(
    "that cannot be set are refused at the create",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const most = BigInt(readFileSync("/proc/sys/fs/nr_open", "utf8").trim());
        await assert.rejects(
          createIn(pod, of(limit("nofile", 1n, most + 1n))),
          failsWith(code.failedPrecondition, /nofile is \d+, but the kernel allows/),
        );
        await assert.rejects(
          createIn(pod, of(limit("nproc", 1n, 1n))),
          failsWith(code.invalidArgument, /"nproc" is unknown/),
        );
      }),
    ),
  );
});

describe("resources", () => {
  test(
    "are in the container's cgroup",
    running(
      () =>
        container({
          linux: {
            resources: {
              memoryLimitInBytes: 64n << 20n,
              cpuShares: 512n,
              cpuQuota: 50_000n,
              cpuPeriod: 100_000n,
              cpusetCpus: "0",
              cpusetMems: "0",
              hugepageLimits: [{ pageSize: "2MB", limit: 4n << 20n }],
            },
          },
        }),
      async (pid, id) => {
        const cgroup = cgroupsOfProcess(pid).find((each) => each !== "/" && each !== "") ?? "";
        assert.equal(cgroupValue(cgroup, "memory.limit_in_bytes", "memory.max"), String(64 << 20));
        assert.match(cgroupValue(cgroup, "cpu.shares", "cpu.weight"), /^(512|20)$/);
        assert.match(cgroupValue(cgroup, "cpu.cfs_quota_us", "cpu.max"), /^50000/);
        const hugepages = cgroupValue(cgroup, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
        assert.equal(hugepages, String(4 << 20));
        const allowed = await sh(
          daemon,
          id,
          "grep allowed_list /proc/self/status | tr -s '\\t' ' '",
        );
        assert.equal(allowed, "Cpus_allowed_list: 0\nMems_allowed_list: 0");
      },
    ),
  );

  test(
    "oom_score_adj is set, but not below the daemon's own if the daemon may not lower it",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const scoreOf = async (oomScoreAdj: bigint): Promise<number> => {
          const id = await runIn(pod, container({ linux: { resources: { oomScoreAdj } } }));
          return Number(procFile(await pidOf(daemon, id), "oom_score_adj"));
        };
        assert.equal(await scoreOf(1000n), 1000);
        assert.equal(await scoreOf(300n), 300);
        // Bit 24 is CAP_SYS_RESOURCE (capabilities(7)).
        const bounding = BigInt(`0x${statusLine(daemon.pid, "CapBnd")}`);
        const own = Number(procFile(daemon.pid, "oom_score_adj"));
        assert.equal(
          await scoreOf(-998n),
          (bounding & (1n << 24n)) === 0n ? Math.max(own, -998) : -998,
        );
      }),
    ),
  );
});
