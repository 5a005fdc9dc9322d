/** What the containers of a pod share: network, IPC, PIDs, names and files. */
// variants: shim
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NamespaceMode, type PodSandboxConfig, Protocol } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { isThere } from "../support/snapshot/processes.ts";
import {
  closePod,
  container,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  inPod,
  Node,
  openPod,
  type Pod,
  pidOf,
  RUNNING,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  CONTAINER,
  code,
  failsWith,
  hostInode,
  holderOf,
  inodeOf,
  leakless,
  NODE,
  NOTREADY,
  openDirectories,
  POD,
  pod as podOf,
  statusOf,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const portMappings = [{ containerPort: 8080, hostPort: 18_090, protocol: Protocol.TCP }];

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  openDirectories(daemon);
  // The first pod creates the bridge, and the first host port creates chains. Both stay.
  await closePod(await openPod(daemon, podOf({}, { portMappings })));
});
after(() => node[Symbol.asyncDispose]());

/** The body of a test with one pod. */
function withPod(config: () => PodSandboxConfig, run: (pod: Pod) => Promise<void>) {
  return leakless(served, () => inPod(daemon, config(), run));
}

const serving = (text: string): ReturnType<typeof script> =>
  script(`mkdir /www; echo ${text} > /www/index.html; exec httpd -f -p 8080 -h /www`);

/** Fetches the page of a container's httpd from another container, when it is up. */
async function fetchFrom(id: string, url: string): Promise<string> {
  return until(`${url} answers`, async () => {
    const said = await exec(daemon, id, ["wget", "-q", "-T", "2", "-O", "-", url]);
    return said.exitCode === 0 ? said.stdout.trim() : undefined;
  });
}

describe("the network", () => {
  test(
    "is shared by the containers of a pod: they reach each other on localhost",
    withPod(podOf, async (pod) => {
      await runIn(pod, serving("page"));
      const client = await runIn(pod);
      assert.equal(await fetchFrom(client, "http://127.0.0.1:8080/"), "page");
    }),
  );

  test(
    "connects pods with each other, and a host port with the container",
    leakless(served, () =>
      inPod(daemon, podOf({}, { portMappings }), (server) =>
        inPod(daemon, podOf(), async (other) => {
          await runIn(server, serving("page"));
          const client = await runIn(other);
          const { network } = await statusOf(daemon, server.id);
          const ip = network?.ip ?? "";
          assert.equal(await fetchFrom(client, `http://${ip}:8080/`), "page");
          const bridge = ip.replace(/\d+$/, "1");
          const answer = await fetch(`http://${bridge}:18090/`, {
            headers: { connection: "close" },
          });
          assert.equal((await answer.text()).trim(), "page");
        }),
      ),
    ),
  );

  test(
    "is the host's for a pod on the host's network",
    withPod(
      () => podOf({ network: NODE }),
      async (pod) => {
        const id = await runIn(pod);
        assert.equal(inodeOf(`/proc/${await pidOf(daemon, id)}/ns/net`), hostInode("net"));
        assert.match(await sh(daemon, id, "ip -o link"), / dvt0:/);
      },
    ),
  );
});

describe("names", () => {
  test(
    "hostname, hosts and resolv.conf are the pod's, for any user",
    withPod(
      () =>
        podOf(
          {},
          {
            hostname: "my-host",
            dnsConfig: {
              servers: ["10.0.0.10"],
              searches: ["a.svc", "svc"],
              options: ["ndots:5"],
            },
          },
        ),
      async (pod) => {
        const linux = { securityContext: { runAsUser: { value: 65_534n } } };
        const id = await runIn(pod, container({ linux }));
        assert.equal(await sh(daemon, id, "hostname; cat /etc/hostname"), "my-host\nmy-host");
        const resolv = await sh(daemon, id, "cat /etc/resolv.conf");
        assert.match(resolv, /^nameserver 10\.0\.0\.10$/m);
        assert.match(resolv, /^search a\.svc svc$/m);
        assert.match(resolv, /^options ndots:5$/m);
        assert.match(await sh(daemon, id, "cat /etc/hosts"), /localhost/);
        assert.equal(await sh(daemon, id, "echo $HOSTNAME"), "my-host");
        const files = "/etc/hosts /etc/hostname /etc/resolv.conf";
        assert.equal(await sh(daemon, id, `stat -c %a ${files}`), "644\n644\n644");
      },
    ),
  );
});

describe("IPC", () => {
  test(
    "/dev/shm is one for the containers of a pod, and not the host's",
    withPod(podOf, async (pod) => {
      const [a, b] = [await runIn(pod), await runIn(pod)];
      await sh(daemon, a, "echo shared > /dev/shm/file");
      assert.equal(await sh(daemon, b, "cat /dev/shm/file"), "shared");
      const [first, second] = await Promise.all(
        [a, b].map(async (id) => inodeOf(`/proc/${await pidOf(daemon, id)}/ns/ipc`)),
      );
      assert.equal(first, second);
      assert.notEqual(first, hostInode("ipc"));
      const nobody = { securityContext: { runAsUser: { value: 65_534n } } };
      const c = await runIn(pod, container({ linux: nobody }));
      await sh(daemon, c, "touch /dev/shm/mine");
      assert.match(await sh(daemon, c, "df -k /dev/shm"), / 65536 .* \/dev\/shm$/m);
    }),
  );
});

describe("PIDs", () => {
  const withPid = (pid: NamespaceMode, targetId = ""): Parameters<typeof container>[0] => ({
    linux: {
      securityContext: { namespaceOptions: { network: NODE, ipc: NODE, pid, targetId } },
    },
  });

  test(
    "in CONTAINER mode the process is PID 1, and sees no other",
    withPod(bare, async (pod) => {
      const [id] = [await runIn(pod), await runIn(pod)];
      const ps = await sh(daemon, id, "ps -o pid,args");
      assert.match(ps, /^ +1 sleep 100000$/m);
      assert.equal(ps.match(/sleep 100000/g)?.length, 1);
    }),
  );

  test(
    "in POD mode containers see each other, and PID 1 is the holder",
    withPod(
      () => podOf({ network: NODE, pid: POD }),
      async (pod) => {
        const a = await runIn(pod, script("sleep 100001"));
        const b = await runIn(pod, script("sleep 100002"));
        const ps = await sh(daemon, a, "ps -o pid,args");
        assert.match(ps, /sleep 100001/);
        assert.match(ps, /sleep 100002/);
        assert.doesNotMatch(ps, /^ +1 .*sleep/m);
        const holder = await holderOf(daemon, pod.id);
        const ns = (pid: number): number => inodeOf(`/proc/${pid}/ns/pid`);
        assert.equal(ns(await pidOf(daemon, a)), ns(holder));
        assert.equal(ns(await pidOf(daemon, b)), ns(holder));
        // The process is not PID 1, so that TERM ends it without a handler.
        await stop(daemon, a, 20);
        assert.equal((await containerStatus(daemon, a)).exitCode, 143);
        assert.equal((await containerStatus(daemon, b)).state, RUNNING);
      },
    ),
  );

  test(
    "in POD mode background processes of a container end with it, other containers keep running",
    withPod(
      () => podOf({ network: NODE, pid: POD }),
      async (pod) => {
        const a = await runIn(pod, script("setsid sleep 100003 & sleep 0.1; exit 0"));
        const b = await runIn(pod, script("sleep 100004"));
        await exited(daemon, a);
        const ps = await sh(daemon, b, "ps -o args");
        assert.doesNotMatch(ps, /100003/);
        assert.match(ps, /100004/);
      },
    ),
  );

  test(
    "in POD mode a process that traces the holder gets neither files of the node nor a capability",
    withPod(
      () => podOf({ network: NODE, pid: POD }),
      async (pod) => {
        const addCapabilities = ["SYS_PTRACE"];
        const id = await runIn(
          pod,
          container({ linux: { securityContext: { capabilities: { addCapabilities } } } }),
        );
        // Only a process that may trace it can read the link (proc_pid_root(5)).
        assert.equal(await sh(daemon, id, "readlink /proc/1/root"), "/");
        assert.equal(await sh(daemon, id, "ls -A /proc/1/root/ /proc/1/cwd/ | grep -v :"), "");
        const status = await sh(daemon, id, "cat /proc/1/status");
        for (const line of [/^CapPrm:\t0+$/m, /^CapEff:\t0+$/m, /^Uid:\t65535\t65535\t/m]) {
          assert.match(status, line);
        }
      },
    ),
  );

  test(
    "in POD mode the holder's death ends the pod and its containers",
    withPod(
      () => podOf({ network: NODE, pid: POD }),
      async (pod) => {
        const id = await runIn(pod);
        process.kill(await holderOf(daemon, pod.id), "SIGKILL");
        assert.equal((await exited(daemon, id)).exitCode, 137);
        await until("it is NOTREADY", async () => {
          return (await statusOf(daemon, pod.id)).state === NOTREADY;
        });
        await assert.rejects(createIn(pod), failsWith(code.failedPrecondition));
      },
    ),
  );

  test(
    "POD mode, which is also what a request without a mode has, is a namespace of its own in other pods",
    withPod(bare, async (pod) => {
      const first = await runIn(pod, script("exec sleep 100006"));
      const second = await runIn(pod, container(withPid(POD)));
      assert.doesNotMatch(await sh(daemon, second, "ps -o args"), /sleep 100006/);
      const namespaceOf = async (id: string): Promise<number> =>
        inodeOf(`/proc/${await pidOf(daemon, id)}/ns/pid`);
      assert.notEqual(await namespaceOf(first), await namespaceOf(second));
    }),
  );

  test(
    "NODE mode shows the processes of the host, and requires a pod in NODE mode",
    leakless(served, async () => {
      await inPod(daemon, podOf({ network: NODE, ipc: NODE, pid: NODE }), async (pod) => {
        const id = await runIn(pod);
        assert.equal(inodeOf(`/proc/${await pidOf(daemon, id)}/ns/pid`), hostInode("pid"));
        assert.match(await sh(daemon, id, "ps -o args"), /serve --config/);
      });
      await inPod(daemon, bare(), async (pod) => {
        await assert.rejects(
          createIn(pod, container(withPid(NODE))),
          failsWith(code.invalidArgument, /NODE/),
        );
      });
    }),
  );

  test(
    "TARGET mode is the namespace of another container, which must run",
    withPod(bare, async (pod) => {
      const target = await runIn(pod, script("sleep 100005"));
      const id = await runIn(pod, container(withPid(NamespaceMode.TARGET, target)));
      assert.match(await sh(daemon, id, "ps -o args"), /sleep 100005/);
      await stop(daemon, target);
      // Its PID 1 is gone: the kernel has killed all others in that namespace.
      assert.equal((await exited(daemon, id)).exitCode, 137);
      await assert.rejects(
        createIn(pod, container(withPid(NamespaceMode.TARGET, target))),
        failsWith(code.failedPrecondition, /does not run/),
      );
    }),
  );

  test(
    "a pod keeps CONTAINER and POD containers apart",
    withPod(
      () => podOf({ network: NODE, ipc: NODE, pid: POD }),
      async (pod) => {
        const alone = await runIn(pod, container(withPid(CONTAINER)));
        const shared = await runIn(pod, container(withPid(POD)));
        assert.match(await sh(daemon, alone, "ps -o pid,args"), /^ +1 sleep 100000$/m);
        assert.doesNotMatch(await sh(daemon, shared, "ps -o pid,args"), /^ +1 sleep 100000$/m);
      },
    ),
  );
});

test(
  "twenty containers of one pod start at once, and end with it",
  withPod(podOf, async (pod) => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => createIn(pod)));
    await Promise.all(ids.map((id) => start(daemon, id)));
    const pids = await Promise.all(ids.map((id) => pidOf(daemon, id)));
    await daemon.client.runtime.stopPodSandbox({ podSandboxId: pod.id });
    const statuses = await Promise.all(ids.map((id) => containerStatus(daemon, id)));
    assert.ok(statuses.every(({ state }) => state === EXITED));
    assert.ok(!pids.some(isThere));
  }),
);
