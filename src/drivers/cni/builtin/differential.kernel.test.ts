// The same networks by the plugins and by davit itself: links, addresses, routes, sysctls, files and results are equal
// after each step, whoever removes what the other has made. DAVIT_TEST_SEED begins with another network, and
// DAVIT_TEST_NETWORKS sets their number, which a slow machine does not reach.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { pinNamespaces, unpinNamespace, writeSysctls } from "../../../linux/namespace/index.ts";
import { deleteLink, exchange, findLink } from "../../../linux/netlink/index.ts";
import { PluginError } from "../plugin-error.ts";
import { execOnHost } from "../plugin-exec.ts";
import { type CallTarget, type ListRunner, PluginRunner } from "../plugin-runner.ts";
import { parseResult } from "../result.ts";
import type { JsonObject } from "../conflist.ts";
import { isAtLeast } from "../version.ts";
import { BuiltinRunner, networkObstacle } from "./runner.ts";
import { randomBridge, randomNetwork, type RandomNetwork } from "./testing/random-network.ts";
import { differences, ipCommands, takeSnapshot, withoutRandom } from "./testing/snapshot.ts";

const seed = Number(process.env["DAVIT_TEST_SEED"] ?? 0);
const count = Number(process.env["DAVIT_TEST_NETWORKS"] ?? 120);
const leastCount = 30;
const enoughMs = 60_000;
const timeoutMs = 30_000;
const pluginDir = "/usr/lib/cni";
const { signal } = new AbortController();

const plugins = new PluginRunner({
  binDirs: [pluginDir],
  env: process.env,
  exec: execOnHost,
  timeoutMs,
});
const builtin = new BuiltinRunner({ timeoutMs });

const base = mkdtempSync(join(tmpdir(), "cni-differential-"));
const directories = { ipam: join(base, "ipam"), tuning: join(base, "tuning") };
const batch = join(base, "ip");
const pods = ["pod-1", "pod-2"].map((id) => ({ id, netns: join(base, id) }));
const ip = (...args: readonly string[]): void => void execFileSync("ip", args);
const default6 = "net.ipv6.conf.default.accept_dad";

/** What a step gave: the result, or that it failed and how. */
type Outcome = { readonly result: unknown } | { readonly code: number | undefined };

/** Who adds and who removes. */
interface Actors {
  readonly adding: ListRunner;
  readonly removing: ListRunner;
}

/** Davit alone, and in turn each with the other. */
function actorsFor(number: number): readonly (readonly [string, Actors])[] {
  const mixed: Readonly<Record<number, readonly [string, Actors]>> = {
    1: ["davit, removed by the plugins", { adding: builtin, removing: plugins }],
    3: ["the plugins, removed by davit", { adding: plugins, removing: builtin }],
  };
  const other = mixed[number % 8];
  const davit = ["davit", { adding: builtin, removing: builtin }] as const;
  return other === undefined ? [davit] : [davit, other];
}

const isFailure = (step: unknown): boolean =>
  typeof step === "object" && step !== null && "code" in step;

async function addPod(runner: ListRunner, network: RandomNetwork, target: CallTarget) {
  const { list } = network;
  let prevResult: JsonObject | undefined;
  for (const plugin of list.plugins) {
    const call = { command: "ADD", list, plugin, target, signal } as const;
    const text = await runner.run({ ...call, ...(prevResult && { prevResult }) });
    prevResult = parseResult(text, list.cniVersion);
  }
  return prevResult;
}

async function deletePod(
  runner: ListRunner,
  network: RandomNetwork,
  target: CallTarget,
  result: JsonObject | undefined,
) {
  const { list } = network;
  const prevResult = isAtLeast(list.cniVersion, "0.4.0") ? result : undefined;
  for (const plugin of list.plugins.toReversed()) {
    const call = { command: "DEL", list, plugin, target, signal } as const;
    await runner.run({ ...call, ...(prevResult && { prevResult }) });
  }
}

function targetOf(network: RandomNetwork, { id, netns }: (typeof pods)[number]): CallTarget {
  const { capabilityArgs } = network;
  const args = { cniArgs: "IgnoreUnknown=1;K8S_POD_NAME=x", capabilityArgs };
  return { sandboxId: id, netnsPath: netns, ifName: "eth0", args };
}

async function outcomeOf(step: Promise<unknown>): Promise<Outcome> {
  try {
    return { result: withoutRandom((await step) ?? null) };
  } catch (error) {
    assert.ok(error instanceof PluginError, String(error));
    return { code: error.code };
  }
}

async function prepare({ before, isSlow }: RandomNetwork): Promise<void> {
  for (const directory of Object.values(directories)) mkdirSync(directory);
  writeFileSync("/proc/sys/net/ipv4/ip_forward", "0");
  writeFileSync("/proc/sys/net/ipv6/conf/all/forwarding", "0");
  writeFileSync("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
  if (before === "no bridge") ip("link", "add", randomBridge, "type", "veth", "peer", "dvt2");
  else if (before !== "nothing") ip("link", "add", "name", randomBridge, "type", "bridge");
  if (before === "bridge with another address") {
    ip("addr", "add", "10.99.0.1/24", "dev", randomBridge);
  }
  for (const { netns } of pods) {
    await pinNamespaces({ net: netns });
    await writeSysctls({ net: netns }, [
      [default6, isSlow ? "1" : "0"],
      ["net.ipv6.conf.lo.disable_ipv6", "1"],
    ]);
  }
}

async function clean(): Promise<void> {
  for (const { netns } of pods) {
    const link = await findLink(netns, "eth0").catch(() => undefined);
    if (link !== undefined) await exchange(netns, [deleteLink(link)]);
    await unpinNamespace(netns);
  }
  const link = await findLink(undefined, randomBridge);
  if (link !== undefined) await exchange(undefined, [deleteLink(link)]);
  for (const directory of Object.values(directories)) rmSync(directory, { recursive: true });
}

/**
 * A snapshot after the kernel has finished: carriers and IPv6 addresses follow a change by some milliseconds. With what
 * is expected, it has as long as it needs for that.
 */
async function settled(expected: unknown, gone: readonly string[] = []): Promise<unknown> {
  const options = {
    batch,
    bridge: randomBridge,
    pods: pods.map(({ netns }) => netns).filter((netns) => !gone.includes(netns)),
    // Without a namespace the plugin tuning leaves its file, and davit removes it.
    directories: gone.length === 0 ? Object.values(directories) : [directories.ipam],
  };
  let last = await takeSnapshot(options);
  for (let round = 0; round < 100; round++) {
    if (expected !== undefined && differences(expected, last).length === 0) break;
    await delay(10);
    const now = await takeSnapshot(options);
    const text = JSON.stringify(now);
    const isFinal = text === JSON.stringify(last) && !text.includes('"tentative"');
    if (isFinal && (expected === undefined || round > 50)) break;
    last = now;
  }
  return last;
}

/** Two pods come and go. Returns all that can be seen after each step. */
async function live(
  network: RandomNetwork,
  { adding, removing }: Actors,
  expected: readonly unknown[] = [],
): Promise<unknown[]> {
  const seen: unknown[] = [];
  const results: (JsonObject | undefined)[] = [];
  await prepare(network);
  try {
    for (const pod of pods) {
      const adds = addPod(adding, network, targetOf(network, pod));
      seen.push(await outcomeOf(adds));
      results.push(await adds.catch(() => undefined));
    }
    seen.push(await settled(expected[seen.length]));
    for (const [at, pod] of pods.entries()) {
      const target = targetOf(network, pod);
      const isGone = network.losesNamespace && at === 1;
      if (isGone) await unpinNamespace(pod.netns);
      const given = { ...target, netnsPath: isGone ? "" : target.netnsPath };
      seen.push(await outcomeOf(deletePod(removing, network, given, results[at])));
      // As a removal that is repeated.
      if (at === 0) seen.push(await outcomeOf(deletePod(removing, network, given, results[at])));
    }
    const gone = network.losesNamespace ? [pods[1]?.netns ?? ""] : [];
    seen.push(await settled(expected[seen.length], gone));
    return seen;
  } finally {
    await clean();
  }
}

describe("the built-in network and the plugins", () => {
  before(() => {
    writeFileSync(batch, ipCommands);
    writeFileSync("/proc/sys/net/ipv6/conf/all/accept_dad", "0");
  });
  after(() => rmSync(base, { recursive: true }));

  test("make and remove the same of random networks", async (t) => {
    const deadline = performance.now() + enoughMs;
    let done = 0;
    let failed = 0;
    for (; done < count && (done < leastCount || performance.now() < deadline); done++) {
      const number = seed + done;
      const network = randomNetwork(number, directories);
      assert.equal(networkObstacle(network.list), undefined);
      const expected = await live(network, { adding: plugins, removing: plugins });
      failed += expected.filter(isFailure).length;
      for (const [who, actors] of actorsFor(number)) {
        const seen = await live(network, actors, expected);
        const found = differences(expected, seen);
        assert.deepEqual(found, [], `network ${number} by ${who}: ${network.list.text}`);
      }
    }
    t.diagnostic(
      `${done} networks, ${2 * done} pods; ${failed} steps failed with both, with the same code`,
    );
  });
});
