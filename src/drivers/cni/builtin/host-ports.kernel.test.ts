// Packets through host ports, and ADD and DEL of many containers at once.
import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { patient } from "../../../../test/support/patience.ts";
import { messageOf } from "../../../base/errors.ts";
import { errnoCode } from "../../../base/system-error.ts";
import { pinNamespaces, unpinNamespace } from "../../../linux/namespace/index.ts";
import { run } from "../../../linux/process/index.ts";
import type { CniResult } from "../result.ts";
import type { PluginCall } from "./plugin.ts";
import { PortmapPlugin } from "./portmap.ts";
import {
  clearRules,
  iptablesDirectory,
  resetRules,
  runPlugin,
  savedRules,
  sh,
} from "./testing/beside-plugins.ts";

const { signal } = new AbortController();
const hostIp = "192.0.2.1";
const hostIp6 = "2001:db8:1::1";
const mappings = [
  { hostPort: 8080, containerPort: 80, protocol: "tcp" },
  { hostPort: 8081, containerPort: 81, protocol: "udp" },
];

// In the pod: answers a connection, and each datagram.
const listener = `
  require("node:net").createServer((socket) => socket.end("pod")).listen(80, "::");
  const udp = require("node:dgram").createSocket("udp6");
  udp.on("message", (_, from) => udp.send("pod", from.port, from.address));
  udp.bind(81, "::");
`;

const ask = async (host: string, port: number): Promise<string> => {
  const socket = connect({ host, port, timeout: patient(2_000) });
  socket.on("timeout", () => socket.destroy(new Error("timeout")));
  return text(socket).catch((error: unknown) => errnoCode(error) ?? messageOf(error));
};

/** Sends a datagram again and again, until there is an answer. */
const askUdp = async (socket: Socket, host: string, tries = 20): Promise<string> => {
  const answer = once(socket, "message").then(([message]) => String(message));
  for (let n = 0; n < tries; n++) {
    socket.send("hello", 8081, host);
    const first = await Promise.race([answer, sleep(patient(50))]);
    if (typeof first === "string") return first;
  }
  return "nothing";
};

const portmapCall = (containerId: string, more: object = {}, ports = mappings): PluginCall => ({
  containerId,
  netns: "/run/netns/x",
  ifName: "eth0",
  conf: {
    name: "pods",
    type: "portmap",
    cniVersion: "1.0.0",
    runtimeConfig: { portMappings: ports },
    ...more,
  },
  signal,
});

const systemPath = process.env["PATH"] ?? "";
const base = mkdtempSync(path.join(tmpdir(), "davit-host-ports-"));
const useBackend = (backend: "nft" | "legacy"): void => {
  const directory = path.join(base, backend);
  mkdirSync(directory, { recursive: true });
  rmSync(directory, { recursive: true });
  mkdirSync(directory);
  process.env["PATH"] = `${iptablesDirectory(directory, backend)}:${systemPath}`;
};
after(() => rmSync(base, { recursive: true }));

describe("packets through host ports", () => {
  const netns = path.join(base, "pod");
  const listening = new AbortController();
  let pod: CniResult;
  let listenerEnded: Promise<unknown>;
  const bridgeCall: PluginCall = {
    ...portmapCall("pod"),
    netns,
    conf: {
      name: "pods",
      type: "bridge",
      cniVersion: "1.0.0",
      bridge: "dvt-ports",
      isGateway: true,
      hairpinMode: true,
      ipam: {
        type: "host-local",
        dataDir: path.join(base, "ipam"),
        ranges: [[{ subnet: "10.87.0.0/24" }], [{ subnet: "fd00:87::/64" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    },
  };

  before(async () => {
    await pinNamespaces({ net: netns });
    pod = await runPlugin("ADD", bridgeCall, undefined);
    await sh("ip", ["addr", "add", `${hostIp}/32`, "dev", "lo"]);
    await sh("ip", ["addr", "add", `${hostIp6}/128`, "dev", "lo"]);
    listenerEnded = run({
      file: process.execPath,
      args: ["-e", listener],
      env: {},
      joinNamespaces: [netns],
      timeoutMs: 600_000,
      signal: listening.signal,
    }).catch(() => undefined);
    // The host's IPv6 address is not used until the kernel has seen that no other node has it.
    for (const { address } of pod.ips ?? []) {
      while ((await ask(address.split("/")[0] ?? "", 80)) !== "pod") await sleep(20);
    }
  });
  after(async () => {
    listening.abort();
    await listenerEnded;
    await runPlugin("DEL", bridgeCall, pod);
    await unpinNamespace(netns);
    await sh("ip", ["link", "delete", "dvt-ports"]);
    await sh("ip", ["addr", "delete", `${hostIp}/32`, "dev", "lo"]);
    await sh("ip", ["addr", "delete", `${hostIp6}/128`, "dev", "lo"]);
    await clearRules();
    process.env["PATH"] = systemPath;
  });

  const askFromPod = async (): Promise<string> => {
    const script = `require("node:net").connect(8080, "${hostIp}").setTimeout(2000, () => process.exit(1)).pipe(process.stdout)`;
    const from = { file: process.execPath, args: ["-e", script], env: {}, joinNamespaces: [netns] };
    const { stdout } = await run({ ...from, timeoutMs: patient(10_000) });
    return stdout.toString();
  };

  for (const way of ["iptables-nft", "iptables-legacy", "nftables"] as const) {
    test(`TCP, UDP, from the host and from the pod itself, by ${way}`, async () => {
      useBackend(way === "iptables-legacy" ? "legacy" : "nft");
      await clearRules();
      const portmap = new PortmapPlugin();
      const more = way === "nftables" ? { backend: "nftables" } : {};
      const other = portmapCall("other", more, [
        { hostPort: 1, containerPort: 1, protocol: "tcp" },
      ]);
      const call = portmapCall("pod", more);
      // With rules for ports the kernel tracks connections.
      await portmap.add(other, {
        cniVersion: "1.0.0",
        ips: [{ address: "10.87.0.99/24" }, { address: "fd00:87::99/64" }],
      });
      const rules = async (): Promise<string> =>
        (await savedRules("nat")) + (await sh("nft", ["-s", "list", "ruleset"]));
      const before = await rules();
      assert.equal(await ask(hostIp, 8080), "ECONNREFUSED");
      await using udp = createSocket("udp4");
      await using udp6 = createSocket("udp6");
      // Flows to the host itself, which would stay for as long as they are used.
      assert.equal(await askUdp(udp, hostIp, 2), "nothing");
      assert.equal(await askUdp(udp6, hostIp6, 2), "nothing");

      assert.equal(await portmap.add(call, pod), pod);
      assert.equal(await ask(hostIp, 8080), "pod");
      assert.equal(await ask(hostIp6, 8080), "pod");
      // The plugin opens localhost with iptables only.
      if (way !== "nftables") assert.equal(await ask("127.0.0.1", 8080), "pod");
      assert.equal(await askFromPod(), "pod");
      assert.equal(await askUdp(udp, hostIp), "pod");
      assert.equal(await askUdp(udp6, hostIp6), "pod");

      await portmap.del(call, pod);
      assert.equal(await ask(hostIp, 8080), "ECONNREFUSED");
      assert.equal(await rules(), before);
      // Again, and without knowing what ADD has made.
      await portmap.add(call, pod);
      await portmap.del(call, undefined);
      await portmap.del(call, undefined);
      assert.equal(await rules(), before);
    });
  }
});

describe("many at once", () => {
  const result: CniResult = {
    cniVersion: "1.0.0",
    ips: [{ address: "10.88.0.2/24" }, { address: "fd00:88::2/64" }],
  };
  after(async () => {
    await clearRules();
    process.env["PATH"] = systemPath;
  });
  const calls = Array.from({ length: 12 }, (_, at) =>
    portmapCall(`c${at}`, {}, [{ hostPort: 9000 + at, containerPort: 80, protocol: "tcp" }]),
  );

  for (const backend of ["nft", "legacy"] as const) {
    test(`the first ADDs make the shared rules once, by iptables-${backend}`, async () => {
      useBackend(backend);
      await resetRules("nat");
      const portmap = new PortmapPlugin();
      const [first] = calls;
      assert.ok(first);
      await portmap.add(first, result);
      await portmap.del(first, result);
      const shared = await savedRules("nat");
      await resetRules("nat");

      await Promise.all(calls.map((call) => portmap.add(call, result)));
      const lines = (await savedRules("nat")).split("\n");
      assert.equal(
        lines.filter((line) => line.includes("--to-destination")).length,
        2 * calls.length,
      );
      await Promise.all(calls.map((call) => portmap.del(call, result)));
      assert.equal(await savedRules("nat"), shared);
    });

    test(`davit and the plugin at the same time, by iptables-${backend}`, async () => {
      useBackend(backend);
      const portmap = new PortmapPlugin();
      const before = await savedRules("nat");
      await Promise.all(
        calls.map((call, at) =>
          at % 3 === 0 ? runPlugin("ADD", call, result) : portmap.add(call, result),
        ),
      );
      const lines = (await savedRules("nat")).split("\n");
      assert.equal(
        lines.filter((line) => line.includes("--to-destination")).length,
        2 * calls.length,
      );
      await Promise.all(
        calls.map((call, at) =>
          at % 3 === 1 ? runPlugin("DEL", call, result) : portmap.del(call, result),
        ),
      );
      assert.equal(await savedRules("nat"), before);
    });
  }
});
