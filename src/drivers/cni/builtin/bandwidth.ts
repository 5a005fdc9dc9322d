import { readFile } from "node:fs/promises";
import { RuntimeError } from "../../../base/errors.ts";
import { quoteValue } from "../../../base/quote.ts";
import { errnoCode } from "../../../base/system-error.ts";
import {
  addIngress,
  createIfb,
  exchange,
  findLink,
  getLink,
  type Link,
  limitSending,
  linkOf,
  redirectReceived,
  removeLink,
  type Shaper,
} from "../../../linux/netlink/index.ts";
import { isObject, type JsonObject } from "../conflist.ts";
import type { CniResult } from "../result.ts";
import { commonKeys, isObjectOf, obstacleIn } from "./known-keys.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { attachmentHash } from "./rule-text.ts";

const rateKeys = {
  ingressRate: isCount,
  ingressBurst: isCount,
  egressRate: isCount,
  egressBurst: isCount,
};
const keys = {
  ...commonKeys,
  ...rateKeys,
  runtimeConfig: isObjectOf({ bandwidth: isObjectOf(rateKeys) }),
};
// What is more does not fit the kernel's number of bytes. Bits.
const burstEnd = 8 * (2 ** 32 - 1);
const latencySeconds = 0.025;

/** A limit for one direction. Bits a second, and bits. */
interface Limit {
  readonly rate: number;
  readonly burst: number;
}

interface Limits {
  /** What the pod receives. */
  readonly ingress: Limit | undefined;
  /** What the pod sends. */
  readonly egress: Limit | undefined;
}

/**
 * Limits of bandwidth as the plugin bandwidth sets them: what the pod receives is limited where the node's end of its
 * interface sends it; what the pod sends goes through an ifb link of its own, and is limited there.
 */
export const bandwidthPlugin: BuiltinPlugin = {
  type: "bandwidth",
  capabilities: ["bandwidth"],

  obstacle(conf) {
    return obstacleIn(conf, keys) ?? limitsObstacle(askedIn(conf));
  },

  async add(call, previous) {
    const doing = `limit the bandwidth of sandbox "${call.containerId}"`;
    const obstacle = bandwidthPlugin.obstacle(call.conf);
    if (obstacle !== undefined) throw new RuntimeError("invalid-argument", `${doing}: ${obstacle}`);
    if (previous === undefined) {
      const text = `${doing}: bandwidth must not be the first plugin of a list`;
      throw new RuntimeError("failed-precondition", text);
    }
    const { ingress, egress } = limitsOf(askedIn(call.conf));
    if (ingress === undefined && egress === undefined) return previous;
    const ticks = ticksIn(await readFile("/proc/net/psched", "latin1"));
    const node = await nodeEnd(doing, call, previous);
    call.signal.throwIfAborted();
    if (ingress !== undefined) {
      await exchange(undefined, [limitSending(node, shaper(ingress, ticks))]);
    }
    if (egress === undefined) return previous;
    const name = ifbName(String(call.conf["name"]), call.containerId);
    const [, answers] = await exchange(undefined, [createIfb(name, node.mtu), getLink(name)]);
    const ifb = linkOf(answers, name);
    await exchange(undefined, [
      addIngress(node),
      redirectReceived(node, ifb),
      limitSending(ifb, shaper(egress, ticks)),
    ]);
    const interfaces = [...(previous.interfaces ?? []), { name, mac: ifb.mac }];
    return { ...previous, interfaces };
  },

  async del({ conf, containerId }) {
    const ifb = await findLink(undefined, ifbName(String(conf["name"]), containerId));
    if (ifb === undefined) return;
    await removeLink(undefined, ifb).catch((error: unknown) => {
      if (errnoCode(error) !== "ENODEV") throw error; // another DEL was faster
    });
  },
};

function isCount(value: unknown): string | undefined {
  const isFine = Number.isSafeInteger(value) && Number(value) >= 0;
  return isFine ? undefined : "must be a whole number";
}

/** The name of a pod's ifb link (containernetworking/plugins, plugins/meta/bandwidth). */
export function ifbName(network: string, containerId: string): string {
  return `bwp${attachmentHash(network, containerId)}`.slice(0, 15);
}

/** Limits in the configuration itself go before those of the pod. */
function askedIn(conf: PluginCall["conf"]): JsonObject {
  if (Object.keys(rateKeys).some((key) => conf[key] !== undefined)) return conf;
  const runtimeConfig = conf["runtimeConfig"];
  const bandwidth = isObject(runtimeConfig) ? runtimeConfig["bandwidth"] : undefined;
  return isObject(bandwidth) ? bandwidth : {};
}

function limitsOf(asked: JsonObject): Limits {
  const limit = (direction: string): Limit | undefined => {
    const [rate = 0, burst = 0] = [asked[`${direction}Rate`], asked[`${direction}Burst`]].map(
      (value) => (typeof value === "number" ? value : 0),
    );
    return rate === 0 && burst === 0 ? undefined : { rate, burst };
  };
  return { ingress: limit("ingress"), egress: limit("egress") };
}

function limitsObstacle(asked: JsonObject): string | undefined {
  const { ingress, egress } = limitsOf(asked);
  for (const limit of [ingress, egress]) {
    if (limit === undefined) continue;
    const { rate, burst } = limit;
    if (rate < 8 || burst === 0 || burst >= burstEnd) {
      return `rate ${quoteValue(rate)} with burst ${quoteValue(burst)} is not possible`;
    }
  }
  return undefined;
}

/** The node's end of the pod's interface, which must be in the result. */
async function nodeEnd(doing: string, call: PluginCall, previous: CniResult): Promise<Link> {
  const pod = await findLink(call.netns, call.ifName);
  for (const { name, sandbox = "" } of previous.interfaces ?? []) {
    if (sandbox !== "") continue;
    const link = await findLink(undefined, name);
    if (link !== undefined && link.index === pod?.peerIndex) return link;
  }
  const text = `${doing}: the node's end of "${call.ifName}" is not in the result of the plugin before`;
  throw new RuntimeError("failed-precondition", text);
}

/** Ticks of the kernel in a microsecond, by the text of /proc/net/psched. */
export function ticksIn(psched: string): number {
  const [ticks = 0, microseconds = 1, resolution = 0] = psched
    .trim()
    .split(" ")
    .map((word) => Number.parseInt(word, 16));
  const perTick = resolution === 1_000_000_000 ? 1 : ticks / microseconds;
  return perTick * (resolution / 1_000_000);
}

/** The numbers of the plugin, which computes them in 64-bit floating point and keeps 32 bits of each. */
export function shaper({ rate, burst }: Limit, ticksPerMicrosecond: number): Shaper {
  const rateBytes = Math.floor(rate / 8);
  const burstBytes = Math.floor(burst / 8);
  const burstMicroseconds = low32((burstBytes * 1_000_000) / rateBytes);
  const latency = 1_000_000 * latencySeconds;
  return {
    rate: BigInt(rateBytes),
    limit: (low32((rateBytes * latency) / 1_000_000) + burstBytes) % 2 ** 32,
    buffer: low32(burstMicroseconds * ticksPerMicrosecond),
  };
}

function low32(value: number): number {
  return Number(BigInt.asUintN(32, BigInt(Math.trunc(value))));
}
