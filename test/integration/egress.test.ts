/** Pods without a network, and pods that may open connections to some destinations only. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { createIn, Node, openPod, script } from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  inside,
  launchDaemon,
  leakless,
  leaklessAcross,
  listIds,
  mapped,
  NODE,
  openDirectories,
  output,
  pinsOf,
  pod,
  READY,
  removePod,
  runPod,
  statusOf,
  takenAddresses,
  until,
  withPod,
} from "../support/suites/pods.ts";

const support = path.join(import.meta.dirname, "../support");

/** A namespace beside the bridge of the pods, with a server in it, that pods reach by routes of this one. */
class Destination {
  readonly v4: string;
  readonly v6: string;
  readonly name: string;
  readonly #server: ChildProcess;

  private constructor(name: string, at: number, server: ChildProcess) {
    this.name = name;
    this.v4 = `192.0.2.${at * 4 + 2}`;
    this.v6 = `2001:db8:${at}::2`;
    this.#server = server;
  }

  static async open(at: number): Promise<Destination> {
    const name = `dst${at}-${process.pid}`;
    const ip = (...words: string[]): Promise<string> => output("ip", ...words);
    await ip("netns", "add", name);
    await ip("link", "add", `dst${at}`, "type", "veth", "peer", "name", "eth0", "netns", name);
    await ip("address", "add", `192.0.2.${at * 4 + 1}/30`, "dev", `dst${at}`);
    await ip("-6", "address", "add", `2001:db8:${at}::1/64`, "dev", `dst${at}`, "nodad");
    await ip("link", "set", `dst${at}`, "up");
    const [v4, v6] = [`192.0.2.${at * 4 + 2}`, `2001:db8:${at}::2`];
    await ip("-n", name, "link", "set", "lo", "up");
    await ip("-n", name, "address", "add", `${v4}/30`, "dev", "eth0");
    await ip("-n", name, "-6", "address", "add", `${v6}/64`, "dev", "eth0", "nodad");
    await ip("-n", name, "link", "set", "eth0", "up");
    await ip("-n", name, "route", "add", "default", "via", `192.0.2.${at * 4 + 1}`);
    await ip("-n", name, "-6", "route", "add", "default", "via", `2001:db8:${at}::1`);
    const words = [
      process.execPath,
      path.join(support, "egress-server.ts"),
      name,
      "80",
      "81",
      "90",
    ];
    const server = spawn("ip", ["netns", "exec", name, ...words], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
    });
    await once(createInterface({ input: server.stdout }), "line");
    return new Destination(name, at, server);
  }

  async close(): Promise<void> {
    const exited = once(this.#server, "exit");
    this.#server.kill("SIGKILL");
    await exited;
    await output("ip", "netns", "delete", this.name);
  }
}

let node: Node;
let daemon: TestDaemon;
let near: Destination;
let far: Destination;
const served = (): TestDaemon => daemon;

before(async () => {
  for (const key of ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"]) {
    await output("sysctl", "-qw", `${key.replaceAll("/", ".")}=1`);
  }
  node = await Node.startWithBusybox({ subnets: ["10.92.0.0/16", "fd92::/64"] });
  ({ daemon } = node);
  openDirectories(daemon);
  near = await Destination.open(1);
  far = await Destination.open(2);
  // The first pod creates the bridge, which stays.
  await removePod(daemon, await runPod(daemon, pod()));
});
after(async () => {
  await near.close();
  await far.close();
  await node[Symbol.asyncDispose]();
});

const limited = (egress: string, config: PodSandboxConfig = pod()): PodSandboxConfig => {
  config.annotations["davit.egress"] = egress;
  return config;
};

/** Asks servers from the namespace of a pod; the answers in their order. */
async function ask(
  id: string,
  ...questions: readonly (readonly ["tcp" | "udp", string, number])[]
): Promise<readonly string[]> {
  const program = path.join(support, "egress-client.ts");
  const words = questions.flat().map(String);
  const text = await inside(daemon, id, ["net"], process.execPath, program, ...words);
  return text.trimEnd().split("\n");
}

/**
 * A pod without limits, to which all servers answer. The bridge gets its first port with it, and its IPv6 address
 * takes a moment then.
 */
async function freePod(): Promise<AsyncDisposable> {
  const id = await runPod(daemon, pod());
  const end = { [Symbol.asyncDispose]: () => removePod(daemon, id) };
  await using failed = new AsyncDisposableStack();
  failed.use(end);
  await until("all servers answer", async () => {
    const all = await ask(id, ["tcp", far.v4, 80], ["udp", near.v6, 90], ["tcp", far.v6, 81]);
    return all.join() === [far.name, near.name, far.name].join();
  });
  failed.move();
  return end;
}

/** How a TCP connection is rejected, and a UDP packet of either family. */
const denied = "ECONNREFUSED";
const deniedUdp = { v4: "EHOSTUNREACH", v6: "EACCES" } as const;

describe("a pod whose egress is limited", () => {
  test(
    "reaches the destinations by TCP, UDP and both families, and nothing else",
    leakless(served, async () => {
      await using _free = await freePod();
      const egress = `${near.v4}:80-81, [${near.v6}/128]:80/tcp, ${far.v4}/32:90/udp`;
      await withPod(daemon, limited(egress), async (id) => {
        const four = await ask(
          id,
          ["tcp", near.v4, 80],
          ["tcp", near.v4, 81],
          ["udp", near.v4, 80],
          ["tcp", near.v4, 90],
          ["udp", near.v4, 90],
          ["tcp", far.v4, 90],
          ["udp", far.v4, 90],
          ["udp", far.v4, 80],
        );
        const { name } = near;
        const rejected = [denied, deniedUdp.v4, denied];
        assert.deepEqual(four, [name, name, name, ...rejected, far.name, deniedUdp.v4]);
        const six = await ask(
          id,
          ["tcp", near.v6, 80],
          ["tcp", near.v6, 81],
          ["udp", near.v6, 80],
          ["tcp", far.v6, 80],
        );
        assert.deepEqual(six, [name, denied, deniedUdp.v6, denied]);
        // An IPv6 socket to an IPv4 address sends IPv4.
        const [mappedAnswer] = await ask(id, ["tcp", `::ffff:${far.v4}`, 80]);
        assert.equal(mappedAnswer, denied);
        // The node, which every pod has a route to, where nobody listens: that would be ECONNREFUSED.
        assert.deepEqual(await ask(id, ["udp", "10.92.0.1", 22]), [deniedUdp.v4]);
      });
    }),
  );

  test(
    "answers connections of others, and reaches itself",
    leakless(served, async () => {
      await using _free = await freePod();
      await withPod(daemon, limited("none"), async (id) => {
        const { network } = await statusOf(daemon, id);
        const [v4 = "", v6 = ""] = [network?.ip, network?.additionalIps[0]?.ip];
        const { net } = pinsOf(daemon, id);
        const server = path.join(support, "egress-server.ts");
        const words = [`--net=${net}`, process.execPath, server, "from the pod", "80"];
        const child = spawn("nsenter", words, {
          stdio: ["ignore", "pipe", "inherit"],
          env: { ...process.env, NODE_TEST_CONTEXT: undefined },
        });
        try {
          await once(createInterface({ input: child.stdout }), "line");
          const itself = await ask(id, ["tcp", "127.0.0.1", 80], ["udp", v4, 80], ["tcp", v6, 80]);
          assert.deepEqual(itself, Array(3).fill("from the pod"));
          const client = path.join(support, "egress-client.ts");
          for (const [protocol, address] of [
            ["tcp", v4],
            ["udp", v4],
            ["tcp", v6],
            ["udp", v6],
          ] as const) {
            const question = [protocol, address, "80"];
            const netns = ["netns", "exec", far.name];
            const answer = await output("ip", ...netns, process.execPath, client, ...question);
            assert.equal(answer, "from the pod\n");
          }
          assert.deepEqual(await ask(id, ["tcp", far.v4, 80]), [denied]);
        } finally {
          const exited = once(child, "exit");
          child.kill("SIGKILL");
          await exited;
        }
      });
    }),
  );

  test(
    "cannot pass the rules by raw sockets, which its containers do not get either",
    leakless(served, async () => {
      await withPod(daemon, limited(near.v4), async (id) => {
        const ping = (to: string) =>
          inside(daemon, id, ["net"], "busybox", "ping", "-c1", "-W1", to);
        await ping(near.v4);
        await assert.rejects(ping(far.v4));
      });
      const first = await openPod(daemon, limited(near.v4));
      const text =
        "grep -E '^Cap(Bnd|Eff)' /proc/self/status; ip link set lo down 2>&1; ip route del default 2>&1; sleep 1000";
      const containerId = await createIn(first, script(text, { logPath: "" }));
      await daemon.client.runtime.startContainer({ containerId });
      const cmd = ["/bin/sh", "-c", text.replace("; sleep 1000", "")];
      const { stdout } = await daemon.client.runtime.execSync({ containerId, cmd, timeout: 10n });
      const said = Buffer.from(stdout).toString();
      const bits = [...said.matchAll(/^Cap\w+:\s*([0-9a-f]+)$/gm)].map(([, hex]) =>
        BigInt(`0x${hex}`),
      );
      assert.equal(bits.length, 2);
      // CAP_NET_ADMIN is 12, CAP_NET_RAW 13 (capability.h).
      for (const set of bits) assert.equal(set & (0b11n << 12n), 0n);
      assert.equal(said.match(/not permitted/g)?.length, 2, said);
      assert.deepEqual(await ask(first.id, ["tcp", far.v4, 80]), [denied]);
      await removePod(daemon, first.id);
    }),
  );

  test(
    "refuses containers that could change the rules",
    leakless(served, async () => {
      const first = await openPod(daemon, limited("none"));
      for (const name of ["NET_ADMIN", "NET_RAW", "ALL"]) {
        const capabilities = { addCapabilities: [name] };
        const asked = createIn(
          first,
          script("true", { linux: { securityContext: { capabilities } } }),
        );
        await assert.rejects(asked, failsWith(code.invalidArgument, /davit\.egress/));
      }
      await removePod(daemon, first.id);
    }),
  );

  test(
    "with a user namespace has the rules of the node",
    leakless(served, async () => {
      const first = await openPod(daemon, limited(near.v4, mapped()));
      const containerId = await createIn(first, script("sleep 1000"));
      await daemon.client.runtime.startContainer({ containerId });
      const cmd = ["/bin/sh", "-c", "id -u; ip link set eth0 down 2>&1; exit 0"];
      const { stdout } = await daemon.client.runtime.execSync({ containerId, cmd, timeout: 10n });
      assert.match(Buffer.from(stdout).toString(), /^0\n.*not permitted/);
      const answers = await ask(first.id, ["tcp", near.v4, 80], ["tcp", far.v4, 80]);
      assert.deepEqual(answers, [near.name, denied]);
      await removePod(daemon, first.id);
    }),
  );

  for (const how of ["stop", "kill -9"] as const) {
    test(
      `keeps its rules when davit restarts by ${how}`,
      leaklessAcross(served, async () => {
        const first = await openPod(daemon, limited(near.v4));
        const rules = () => inside(daemon, first.id, ["net"], "iptables-save", "-t", "filter");
        const lines = async () => (await rules()).split("\n").filter((line) => /^-A/.test(line));
        const before = await lines();
        if (how === "stop") await daemon.stop();
        else await daemon.kill9();
        await launchDaemon(daemon);
        assert.equal((await statusOf(daemon, first.id)).state, READY);
        assert.ok(before.length > 3);
        assert.deepEqual(await lines(), before);
        const answers = await ask(first.id, ["tcp", near.v4, 80], ["tcp", far.v4, 80]);
        assert.deepEqual(answers, [near.name, denied]);
        const capabilities = { addCapabilities: ["NET_ADMIN"] };
        const asked = createIn(
          first,
          script("true", { linux: { securityContext: { capabilities } } }),
        );
        await assert.rejects(asked, failsWith(code.invalidArgument));
        await removePod(daemon, first.id);
      }),
    );
  }

  test(
    "is removed if davit dies while it limits it",
    leaklessAcross(served, async () => {
      await daemon.stop();
      await launchDaemon(daemon, { DAVIT_FAULTS: "run-pod-sandbox/limit-egress=kill" });
      await assert.rejects(runPod(daemon, limited("none")));
      await daemon.exited;
      await launchDaemon(daemon);
      await until("its address is free", async () => (await takenAddresses(daemon)).length === 0);
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "is refused with a value that is not a list of destinations, and on the host network",
    leakless(served, async () => {
      for (const value of [
        "",
        "10.0.0.1\nCOMMIT\n",
        "10.0.0.1 -j ACCEPT",
        "$(reboot)",
        "x".repeat(100_000),
        Array(10_000).fill("10.0.0.1").join(","),
      ]) {
        const run = runPod(daemon, limited(value));
        await assert.rejects(run, failsWith(code.invalidArgument));
      }
      const onNode = runPod(daemon, limited("none", pod({ network: NODE })));
      await assert.rejects(onNode, failsWith(code.invalidArgument, /host network/));
      assert.deepEqual(await listIds(daemon), []);
    }),
  );
});

describe("a pod without a network", () => {
  test(
    "has only loopback, no address and no plugin, also after a restart",
    leaklessAcross(served, async () => {
      const config = pod();
      config.annotations["davit.network"] = "none";
      const first = await openPod(daemon, config);
      const containerId = await createIn(first, script("sleep 1000"));
      await daemon.client.runtime.startContainer({ containerId });
      const look = async () => {
        const { network, state } = await statusOf(daemon, first.id);
        assert.deepEqual([network?.ip ?? "", network?.additionalIps ?? [], state], ["", [], READY]);
        const links = (await inside(daemon, first.id, ["net"], "ip", "-o", "link")).trim();
        assert.match(links, /^1: lo: <LOOPBACK,UP[^\n]*$/);
        assert.deepEqual(await takenAddresses(daemon), []);
        const cmd = ["ping", "-c1", "-W1", "127.0.0.1"];
        const answer = await daemon.client.runtime.execSync({ containerId, cmd, timeout: 10n });
        assert.equal(answer.exitCode, 0);
        await daemon.client.runtime.podSandboxStats({ podSandboxId: first.id });
      };
      await look();
      await daemon.kill9();
      await launchDaemon(daemon);
      await look();
      await removePod(daemon, first.id);
    }),
  );

  test(
    "is refused on the host network, with a host port, and with another value",
    leakless(served, async () => {
      const asked = (value: string, config: PodSandboxConfig) => {
        config.annotations["davit.network"] = value;
        return runPod(daemon, config);
      };
      const port = { portMappings: [{ containerPort: 80, hostPort: 8080 }] };
      for (const [value, config, message] of [
        ["none", pod({ network: NODE }), /host network/],
        ["none", pod({}, port), /host port 8080/],
        ["host", pod(), /must be "none"/],
      ] as const) {
        await assert.rejects(asked(value, config), failsWith(code.invalidArgument, message));
      }
      assert.deepEqual(await listIds(daemon), []);
    }),
  );
});
