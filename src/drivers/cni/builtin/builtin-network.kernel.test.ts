import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { silentLogger } from "../../../base/logger.ts";
import type { Attachment, PluginRun } from "../../../core/network/index.ts";
import { pinNamespaces, unpinNamespace } from "../../../linux/namespace/index.ts";
import { deleteLink, exchange, findLink } from "../../../linux/netlink/index.ts";
import { CniNetwork } from "../cni-network.ts";
import { type JsonObject, type NetworkList, parseNetworkList } from "../conflist.ts";
import { PluginError } from "../plugin-error.ts";
import type { ListRunner } from "../plugin-runner.ts";
import { parseResult } from "../result.ts";
import { networkObstacle } from "./runner.ts";
import { builtin, plugins } from "./testing/runners.ts";

const bridge = "dvt3";
const { signal: never } = new AbortController();

let base: string;
let pins: string[];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "cni-builtin-"));
  pins = [];
});

afterEach(async () => {
  for (const path of pins) await unpinNamespace(path);
  const link = await findLink(undefined, bridge);
  if (link !== undefined) await exchange(undefined, [deleteLink(link)]);
  rmSync(base, { recursive: true });
});

async function pin(id: string): Promise<string> {
  const path = join(base, `net-${id}`);
  await pinNamespaces({ net: path });
  pins.push(path);
  return path;
}

/** A network with a bridge, whose subnet is given. */
function networkOf(subnet: string, more: object = {}) {
  const ipam = { type: "host-local", dataDir: join(base, "ipam"), ranges: [[{ subnet }]] };
  const plugin = { type: "bridge", bridge, isGateway: true, ipam, ...more };
  const list = { cniVersion: "1.0.0", name: "pods", plugins: [plugin] };
  const parsed = parseNetworkList(JSON.stringify(list));
  assert.equal(networkObstacle(parsed), undefined);
  return parsed;
}

async function call(
  runner: ListRunner,
  command: "ADD" | "DEL",
  pod: { readonly id: string; readonly netns: string },
  options: {
    readonly list?: NetworkList;
    readonly signal?: AbortSignal;
    readonly prevResult?: JsonObject;
  } = {},
): Promise<string> {
  const { list = networkOf("10.94.0.0/24"), signal = never, prevResult } = options;
  const args = { cniArgs: "IgnoreUnknown=1", capabilityArgs: {} };
  const target = { sandboxId: pod.id, netnsPath: pod.netns, ifName: "eth0", args };
  const [plugin] = list.plugins;
  assert.ok(plugin);
  const previous = prevResult && { prevResult };
  return await runner.run({ command, list, plugin, target, signal, ...previous });
}

const addressIn = (text: string): string => {
  const { ips } = parseResult(text, "1.0.0") as {
    readonly ips: readonly { readonly address: string }[];
  };
  return ips[0]?.address ?? "";
};

const reserved = (): readonly string[] => {
  const directory = join(base, "ipam", "pods");
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((name) => /^\d+\.\d+\.\d+\.\d+$/.test(name));
};

describe("CniNetwork", () => {
  const open = async (own: boolean, runs: PluginRun[] = []): Promise<CniNetwork> =>
    await CniNetwork.open({
      confDir: join(base, "net.d"),
      binDirs: ["/usr/lib/cni"],
      bootId: "boot-1",
      log: silentLogger,
      builtin: own,
      onPluginRun: (run) => runs.push(run),
    });

  test("removes by the plugins what davit has added, and the other way round", async () => {
    mkdirSync(join(base, "net.d"));
    writeFileSync(join(base, "net.d", "1.conflist"), networkOf("10.94.0.0/24").text);
    for (const own of [true, false]) {
      const runs: PluginRun[] = [];
      await using adding = await open(own, runs);
      await using removing = await open(!own, runs);
      const id = `pod-${own}`;
      const netnsPath = await pin(id);
      const records: Attachment[] = [];
      const stages: string[] = [];
      const request = {
        sandboxId: id,
        netnsPath,
        podName: "web",
        podNamespace: "shop",
        podUid: "u1",
        annotations: {},
        portMappings: [],
        dns: { servers: [], searches: [], options: [] },
        cgroupPath: "",
      };
      const operation = {
        signal: never,
        log: silentLogger,
        undoing: () => Promise.resolve(),
        failedIn: () => undefined,
        workOn: (stage: string, plugin: string) => stages.push(`${stage} ${plugin}`),
        enter: (stage: string) => Promise.resolve(void stages.push(stage)),
      };
      const { ips } = await adding.add(request, operation, (record) => void records.push(record));
      assert.deepEqual(ips, reserved());
      assert.deepEqual(stages, ["add-network bridge", "network-plugin-done"]);
      const record = records.at(-1) ?? assert.fail("nothing is recorded");
      await removing.remove(record, { signal: never });
      assert.deepEqual(reserved(), []);
      assert.equal(await findLink(netnsPath, "eth0"), undefined);
      assert.deepEqual(
        runs.map(({ plugin, command, failed }) => `${command} ${plugin} ${failed}`),
        ["ADD bridge false", "DEL bridge false"],
      );
    }
  });
});

describe("the built-in bridge", () => {
  test("returns the MAC addresses that the links have", async () => {
    const netns = await pin("a");
    const pod = { id: "a", netns };
    const { interfaces } = parseResult(await call(builtin, "ADD", pod), "1.0.0") as {
      readonly interfaces: readonly {
        readonly name: string;
        readonly mac: string;
        readonly sandbox?: string;
      }[];
    };
    assert.equal(interfaces.length, 3);
    for (const { name, mac, sandbox } of interfaces) {
      assert.equal((await findLink(sandbox, name))?.mac, mac, name);
    }
    await call(builtin, "DEL", pod);
    assert.equal(await findLink(netns, "eth0"), undefined);
    assert.deepEqual(reserved(), []);
  });

  test("removes a link that its pod has given more names than a plugin can read", async () => {
    const pod = { id: "a", netns: await pin("a") };
    await call(builtin, "ADD", pod);
    const names = Array.from({ length: 450 }, (_, at) => `${at}`.padEnd(120, "x"));
    const file = join(base, "batch");
    writeFileSync(
      file,
      names.map((name) => `link property add dev eth0 altname ${name}\n`).join(""),
    );
    execFileSync("nsenter", [`--net=${pod.netns}`, "ip", "-batch", file]);
    await call(builtin, "DEL", pod);
    assert.equal(await findLink(pod.netns, "eth0"), undefined);
    assert.deepEqual(reserved(), []);
  });

  test("removes a pod that has given the interface's name to its loopback link", async () => {
    const pod = { id: "a", netns: await pin("a") };
    await call(builtin, "ADD", pod);
    const inPod = (...args: readonly string[]): void =>
      void execFileSync("nsenter", [`--net=${pod.netns}`, "ip", ...args]);
    inPod("link", "set", "eth0", "name", "mine");
    inPod("link", "set", "lo", "down");
    inPod("link", "set", "lo", "name", "eth0");
    await call(builtin, "DEL", pod);
    assert.deepEqual(reserved(), []);
    const [plugin] = parseNetworkList(
      JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins: [{ type: "loopback" }] }),
    ).plugins;
    assert.ok(plugin);
    const args = { cniArgs: "", capabilityArgs: {} };
    const target = { sandboxId: "a", netnsPath: pod.netns, ifName: "eth0", args };
    const list = networkOf("10.94.0.0/24");
    await builtin.run({ command: "DEL", list, plugin, target, signal: never });
  });

  test("never gives an address twice while plugins and davit add pods at once", async () => {
    const ids = Array.from({ length: 16 }, (_, at) => `pod-${at}`);
    const pods = await Promise.all(ids.map(async (id) => ({ id, netns: await pin(id) })));
    const adds = pods.map((pod, at) => call(at % 2 === 0 ? builtin : plugins, "ADD", pod));
    const addresses = (await Promise.all(adds)).map(addressIn);
    assert.equal(new Set(addresses).size, pods.length);
    assert.equal(reserved().length, pods.length);
    await Promise.all(pods.map((pod, at) => call(at % 3 === 0 ? plugins : builtin, "DEL", pod)));
    assert.deepEqual(reserved(), []);
  });

  test("says that no address is left as the plugin does, and keeps none", async () => {
    const list = networkOf("10.94.0.0/30");
    const [a, b] = [await pin("a"), await pin("b")];
    assert.equal(
      addressIn(await call(builtin, "ADD", { id: "a", netns: a }, { list })),
      "10.94.0.2/30",
    );
    const errorOf = async (runner: ListRunner): Promise<PluginError> => {
      const error: unknown = await call(runner, "ADD", { id: "b", netns: b }, { list }).catch(
        (reason: unknown) => reason,
      );
      assert.ok(error instanceof PluginError);
      await call(builtin, "DEL", { id: "b", netns: b }, { list });
      return error;
    };
    const [own, theirs] = [await errorOf(builtin), await errorOf(plugins)];
    assert.deepEqual([own.code, own.kind, own.message], [theirs.code, theirs.kind, theirs.message]);
    assert.match(own.message, /no IP addresses available in range set: 10\.94\.0\.1-10\.94\.0\.2/);
    assert.deepEqual(reserved(), ["10.94.0.2"]);
    await call(builtin, "DEL", { id: "a", netns: a }, { list });
  });

  test("waits for the lock of another process, until it is aborted", async () => {
    const netns = await pin("a");
    const directory = join(base, "ipam", "pods");
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, "lock"), "");
    const holder = spawn("flock", [join(directory, "lock"), "sh", "-c", "echo held; read x"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(holder.stdout, "data");
    const abort = new AbortController();
    const pod = { id: "a", netns };
    const adding = call(builtin, "ADD", pod, { signal: abort.signal });
    setTimeout(() => abort.abort(new Error("given up")), 50);
    await assert.rejects(adding, /plugin bridge: given up/);
    assert.deepEqual(reserved(), []);
    holder.stdin.end("\n");
    await once(holder, "exit");
    await call(builtin, "DEL", pod);
    assert.equal(await findLink(netns, "eth0"), undefined);
  });

  test("is not misled by what else is in the directory of addresses", async () => {
    const directory = join(base, "ipam", "pods");
    const secret = join(base, "secret");
    mkdirSync(join(directory, "10.94.0.4"), { recursive: true });
    writeFileSync(secret, "a\r\neth0");
    symlinkSync(secret, join(directory, "10.94.0.2"));
    symlinkSync("/dev/zero", join(directory, "10.94.0.3"));
    execFileSync("mkfifo", [join(directory, "10.94.0.5")]);
    writeFileSync(join(directory, "10.94.0.6"), Buffer.alloc(200_000, 0xff));
    writeFileSync(join(directory, "last_reserved_ip.0"), "not an address");
    const pod = { id: "a", netns: await pin("a") };
    assert.equal(addressIn(await call(builtin, "ADD", pod)), "10.94.0.7/24");
    await assert.rejects(call(builtin, "ADD", pod), /already exists/);
    await call(builtin, "DEL", pod);
    assert.equal(readFileSync(secret, "utf8"), "a\r\neth0");
    assert.deepEqual(
      reserved().toSorted(),
      [2, 3, 4, 5, 6].map((part) => `10.94.0.${part}`),
    );
  });

  test("frees the recorded address of a pod if a power cut has left no owner in its file", async () => {
    const directory = join(base, "ipam", "pods");
    const pod = { id: "a", netns: await pin("a") };
    const contents = ["", "\0".repeat(10), "a\r\n\0\0\0\0", "\x80\xff\n\x02", "b\r\neth0"];
    for (const content of contents) {
      const text = await call(builtin, "ADD", pod);
      const address = addressIn(text).replace("/24", "");
      writeFileSync(join(directory, address), Buffer.from(content, "latin1"));
      writeFileSync(join(directory, "10.94.0.200"), "");
      await call(builtin, "DEL", pod, { prevResult: parseResult(text, "1.0.0") });
      // That of another pod, and an address that nobody says is this one's, stay.
      const left = content.startsWith("b") ? [address] : [];
      assert.deepEqual(reserved().toSorted(), [...left, "10.94.0.200"].toSorted());
    }
  });

  test("refuses a lock that is a link, and a file instead of the directory", async () => {
    const directory = join(base, "ipam", "pods");
    const pod = { id: "a", netns: await pin("a") };
    mkdirSync(directory, { recursive: true });
    symlinkSync(join(base, "other"), join(directory, "lock"));
    await assert.rejects(call(builtin, "ADD", pod), /plugin bridge: .*lock".*symbolic link/);
    assert.equal(existsSync(join(base, "other")), false);
    rmSync(directory, { recursive: true });
    await call(builtin, "DEL", pod);
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "");
    await assert.rejects(call(builtin, "ADD", pod), PluginError);
    rmSync(directory);
    await call(builtin, "DEL", pod);
    assert.equal(await findLink(pod.netns, "eth0"), undefined);
  });

  test("removes what a process that was killed at any moment has left, also without the namespace", async () => {
    const list = networkOf("10.94.0.0/24");
    const program = join(import.meta.dirname, "testing", "add-pods.ts");
    const seen = new Set<string>();
    // From before the first step until after the last one.
    for (const [round, waitMs] of [0, 1, 2, 3, 4, 5, 7, 9, 12, 16, 25, 60].entries()) {
      const pod = { id: `pod-${round}`, netns: await pin(`pod-${round}`) };
      const child = spawn(process.execPath, [program, list.text, pod.id, pod.netns], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      const ended = once(child, "exit");
      await once(child.stdout, "data");
      child.stdin.write("go\n");
      await delay(waitMs);
      child.kill("SIGKILL");
      await ended;
      seen.add(`${(await findLink(pod.netns, "eth0")) !== undefined} ${reserved().length}`);
      const isGone = round % 3 === 2;
      if (isGone) await unpinNamespace(pod.netns);
      await call(builtin, "DEL", { id: pod.id, netns: isGone ? "" : pod.netns }, { list });
      if (!isGone) assert.equal(await findLink(pod.netns, "eth0"), undefined);
      assert.deepEqual(reserved(), []);
    }
    assert.ok(seen.size > 1, `all were killed at the same step: ${[...seen].join()}`);
  });
});
