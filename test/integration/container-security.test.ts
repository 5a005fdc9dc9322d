/** What a container may do: capabilities, seccomp, masked paths, privileges. */
// variants: shim
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type PodSandboxConfig,
  SecurityProfile_ProfileType as ProfileType,
} from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  type ContainerInit,
  container,
  containerInfo,
  containerStatus,
  createIn,
  exec,
  EXITED,
  inPod,
  Node,
  type Pod,
  pidOf,
  runIn,
  sh,
  start,
} from "../support/suites/containers.ts";
import { bare, code, CONTAINER, failsWith, leakless, NODE } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

type Context = NonNullable<NonNullable<ContainerInit["linux"]>["securityContext"]>;

function secured(securityContext: Context): ContainerInit {
  return container({ linux: { securityContext } });
}

/** The body of a test with one running container. */
function running(
  securityContext: Context,
  look: (pid: number, id: string) => Promise<void> | void,
) {
  return leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const id = await runIn(pod, secured(securityContext));
      await look(await pidOf(daemon, id), id);
    }),
  );
}

function statusLine(pid: number, name: string): string {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(text)?.[1] ?? "";
}

const capabilities = (pid: number, set: string): bigint => BigInt(`0x${statusLine(pid, set)}`);
const daemonsOwn = (): bigint => capabilities(daemon.pid, "CapBnd");

// Numbers of capabilities, linux/capability.h.
const bits = (...numbers: readonly number[]): bigint =>
  numbers.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);
const [chown, netBindService, netAdmin, sysAdmin] = [0, 10, 12, 21];
// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT
// MKNOD AUDIT_WRITE SETFCAP: the default of the peers.
const usual = bits(0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31);

describe("capabilities", () => {
  const cases: readonly (readonly [string, object | undefined, () => bigint])[] = [
    ["are the usual ones", undefined, () => usual],
    ["can be added", { addCapabilities: ["NET_ADMIN"] }, () => usual | bits(netAdmin)],
    [
      "can be added with their prefix",
      { addCapabilities: ["CAP_SYS_ADMIN"] },
      () => usual | bits(sysAdmin),
    ],
    ["can be dropped", { dropCapabilities: ["CHOWN"] }, () => usual & ~bits(chown)],
    ["ALL is the daemon's own", { addCapabilities: ["ALL"] }, daemonsOwn],
    ["can all be dropped", { dropCapabilities: ["ALL"] }, () => 0n],
    [
      "can all be dropped except one",
      { dropCapabilities: ["ALL"], addCapabilities: ["NET_BIND_SERVICE"] },
      () => bits(netBindService),
    ],
  ];
  for (const [what, asked, want] of cases) {
    test(
      what,
      running(asked === undefined ? {} : { capabilities: asked }, async (pid, id) => {
        const wanted = want() & daemonsOwn();
        for (const set of ["CapBnd", "CapPrm", "CapEff"]) {
          assert.equal(capabilities(pid, set).toString(16), wanted.toString(16), set);
        }
        const own = /CapEff:\s*(\S+)/.exec(await sh(daemon, id, "cat /proc/self/status"))?.[1];
        assert.equal(BigInt(`0x${own ?? ""}`).toString(16), wanted.toString(16), "of an exec");
      }),
    );
  }

  test(
    "of a user are in the bounding set alone",
    running({ runAsUser: { value: 1000n } }, (pid) => {
      assert.equal(capabilities(pid, "CapEff"), 0n);
      assert.equal(capabilities(pid, "CapInh"), 0n);
      assert.equal(capabilities(pid, "CapBnd"), usual & daemonsOwn());
    }),
  );

  test(
    "of a user can be ambient",
    running(
      {
        runAsUser: { value: 1000n },
        capabilities: { addAmbientCapabilities: ["NET_BIND_SERVICE"] },
      },
      async (pid, id) => {
        for (const set of ["CapEff", "CapPrm", "CapInh", "CapAmb"]) {
          assert.equal(capabilities(pid, set), bits(netBindService), set);
        }
        const own = /CapEff:\s*(\S+)/.exec(await sh(daemon, id, "cat /proc/self/status"))?.[1];
        assert.equal(BigInt(`0x${own ?? ""}`), bits(netBindService), "of an exec");
      },
    ),
  );

  test(
    "that do not exist are refused",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const config = secured({ capabilities: { addCapabilities: ["NO_SUCH"] } });
        await assert.rejects(createIn(pod, config), failsWith(code.invalidArgument, /NO_SUCH/));
      }),
    ),
  );
});

describe("seccomp", () => {
  // A user namespace takes no capability; the default profile has it for CAP_SYS_ADMIN alone.
  const unshare = ["unshare", "-U", "true"];

  test(
    "is off by default",
    running({}, async (pid, id) => {
      assert.equal(statusLine(pid, "Seccomp"), "0");
      assert.equal((await exec(daemon, id, unshare)).exitCode, 0);
    }),
  );

  test(
    "RuntimeDefault filters the container, and execs in it, too",
    running({ seccomp: { profileType: ProfileType.RuntimeDefault } }, async (pid, id) => {
      assert.equal(statusLine(pid, "Seccomp"), "2");
      const said = await exec(daemon, id, unshare);
      assert.equal(said.exitCode, 1);
      assert.match(said.stderr, /not permitted/);
      assert.equal(await sh(daemon, id, "ls -d /bin; id -u"), "/bin\n0");
    }),
  );

  test(
    "takes a profile of the node",
    leakless(served, async () => {
      const file = path.join(daemon.paths.directory, "profile.json");
      const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 1 };
      const profile = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] };
      writeFileSync(file, JSON.stringify(profile));
      await inPod(daemon, bare(), async (pod) => {
        const seccomp = { profileType: ProfileType.Localhost, localhostRef: file };
        const id = await runIn(pod, secured({ seccomp }));
        assert.match((await exec(daemon, id, ["mkdir", "/x"])).stderr, /not permitted/);
        await sh(daemon, id, "touch /x");
        const localhostRef = `${file}.absent`;
        await assert.rejects(
          createIn(pod, secured({ seccomp: { ...seccomp, localhostRef } })),
          failsWith(code.failedPrecondition, /profile\.json\.absent/),
        );
      });
      rmSync(file);
    }),
  );
});

test(
  "no_new_privs is set if requested",
  running({ noNewPrivs: true }, (pid) => {
    assert.equal(statusLine(pid, "NoNewPrivs"), "1");
  }),
);

describe("masked and read-only paths", () => {
  test(
    "are empty, and cannot be written to",
    running(
      {
        maskedPaths: ["/proc/keys", "/sys/firmware", "/proc/no-such"],
        readonlyPaths: ["/proc/sys", "/proc/no-such"],
      },
      async (_pid, id) => {
        assert.equal(await sh(daemon, id, "cat /proc/keys; ls -A /sys/firmware"), "");
        const said = await exec(daemon, id, ["sh", "-c", "echo x > /proc/sys/kernel/domainname"]);
        assert.equal(said.exitCode, 1);
        assert.match(said.stderr, /Read-only file system/);
      },
    ),
  );

  test(
    "are absent where the request has none",
    running({}, async (_pid, id) => {
      assert.doesNotMatch(await sh(daemon, id, "cat /proc/mounts"), /\/proc\/(keys|kcore)/);
    }),
  );

  test(
    "/sys is read-only, /dev has the usual devices and no disk",
    running({}, async (_pid, id) => {
      for (const directory of ["/sys/fs/cgroup/*", "/sys/kernel"]) {
        const said = await exec(daemon, id, [
          "sh",
          "-c",
          `for f in ${directory}; do mkdir $f/x && exit 0; done; exit 1`,
        ]);
        assert.equal(said.exitCode, 1);
        assert.match(said.stderr, /Read-only file system/);
      }
      await sh(daemon, id, "echo x > /dev/null; head -c 1 /dev/urandom > /dev/zero; ls /dev/pts");
      assert.equal(await sh(daemon, id, "find /dev -type b"), "");
      await sh(daemon, id, "mknod /tmp/disk b 8 0");
      assert.notEqual((await exec(daemon, id, ["head", "-c", "1", "/tmp/disk"])).exitCode, 0);
    }),
  );
});

describe("a privileged container", () => {
  function privilegedPod(): PodSandboxConfig {
    const namespaceOptions = { network: NODE, ipc: NODE, pid: CONTAINER };
    const config = bare();
    return bare({
      linux: {
        cgroupParent: config.linux?.cgroupParent ?? "",
        securityContext: { privileged: true, namespaceOptions },
      },
    });
  }

  test(
    "is refused in a pod that is not privileged",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        await assert.rejects(
          createIn(pod, secured({ privileged: true })),
          failsWith(code.invalidArgument, /not privileged/),
        );
      }),
    ),
  );

  test(
    "has the daemon's capabilities, no seccomp, a writable /sys and the host's devices",
    leakless(served, () =>
      inPod(daemon, privilegedPod(), async (pod) => {
        const seccomp = { profileType: ProfileType.RuntimeDefault };
        const maskedPaths = ["/proc/keys"];
        const id = await runIn(pod, secured({ privileged: true, seccomp, maskedPaths }));
        const pid = await pidOf(daemon, id);
        assert.equal(capabilities(pid, "CapEff"), daemonsOwn());
        assert.equal(statusLine(pid, "Seccomp"), "0");
        const mounts = await sh(daemon, id, "cat /proc/mounts");
        assert.match(mounts, /^sysfs \/sys sysfs rw/m);
        assert.doesNotMatch(mounts, /\/proc\/keys/);
        await sh(daemon, id, "test -c /dev/kmsg -o -c /dev/console");
      }),
    ),
  );

  test(
    "runs next to one that is not privileged, in the same pod",
    leakless(served, () =>
      inPod(daemon, privilegedPod(), async (pod: Pod) => {
        const id = await runIn(pod);
        assert.equal(capabilities(await pidOf(daemon, id), "CapEff"), usual & daemonsOwn());
      }),
    ),
  );
});

test(
  "an AppArmor profile that is not loaded is refused by name, in the new field and in the old one",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const apparmor = { profileType: ProfileType.Localhost, localhostRef: "davit-no-such" };
      const old = { apparmorProfile: "localhost/davit-no-such" };
      for (const context of [{ apparmor }, old]) {
        await assert.rejects(
          createIn(pod, secured(context)),
          failsWith(
            code.failedPrecondition,
            /"davit-no-such": (this node has no AppArmor|it is not loaded)/,
          ),
        );
      }
    }),
  ),
);

test(
  "SELinux options are ignored if runtime.selinux is off, as in other runtimes",
  running(
    { selinuxOptions: { user: "u", role: "r", type: "no_such_t", level: "s0:c1" } },
    async (_pid, id) => {
      const { runtimeSpec } = await containerInfo(daemon, id);
      const { process, linux } = runtimeSpec as {
        readonly process: { readonly selinuxLabel?: string };
        readonly linux: { readonly mountLabel?: string };
      };
      assert.deepEqual([process.selinuxLabel, linux.mountLabel], [undefined, undefined]);
    },
  ),
);

test(
  "a container that needs more memory for its start than its limit does not start, and says why",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const resources = { memoryLimitInBytes: 4096n };
      const id = await createIn(pod, container({ linux: { resources } }));
      await assert.rejects(start(daemon, id), /./);
      const { state, reason, exitCode, message } = await containerStatus(daemon, id);
      assert.deepEqual([state, reason, exitCode], [EXITED, "StartError", 128]);
      assert.notEqual(message, "");
    }),
  ),
);
