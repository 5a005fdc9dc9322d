import { messageOf, RuntimeError, wrap } from "../../../base/errors.ts";
import { SystemError } from "../../../base/system-error.ts";
import type { PluginObserver } from "../../../core/network/index.ts";
import type { NetworkList } from "../conflist.ts";
import { PluginError } from "../plugin-error.ts";
import { type ListRunner, pluginConfiguration, type PluginRequest } from "../plugin-runner.ts";
import { type CniResult, convertResult } from "../result.ts";
import { isAtLeast } from "../version.ts";
import { bandwidthPlugin } from "./bandwidth.ts";
import { bridgePlugin } from "./bridge.ts";
import { firewallPlugin } from "./firewall.ts";
import { loopbackPlugin } from "./loopback.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { portmapPlugin } from "./portmap.ts";
import { ptpPlugin } from "./ptp.ts";
import { tuningPlugin } from "./tuning.ts";

/** Those that make the pod's interface: the first of a list, and no other. */
const makers: readonly BuiltinPlugin[] = [bridgePlugin, ptpPlugin];
const chained: readonly BuiltinPlugin[] = [
  loopbackPlugin,
  tuningPlugin,
  portmapPlugin,
  firewallPlugin,
  bandwidthPlugin,
];

const byType: ReadonlyMap<string, BuiltinPlugin> = new Map(
  [...makers, ...chained].map((plugin) => [plugin.type, plugin]),
);

/** The plugins' own error code for everything that is not a fault of their call (skel package, "internal error"). */
const codeInternal = 999;

/** Why a network needs its plugins; undefined when davit does all that they would do. */
export function networkObstacle(list: NetworkList): string | undefined {
  if (isAtLeast(list.cniVersion, "1.1.0")) {
    return `davit knows what the plugins do up to CNI 1.0.0; the network has ${list.cniVersion}`;
  }
  for (const [at, { type, config, capabilities }] of list.plugins.entries()) {
    const plugin = byType.get(type);
    if (plugin === undefined) return `plugin "${type}" is not built in`;
    if (makers.includes(plugin) !== (at === 0)) {
      return `plugin "${type}" is built in only ${at === 0 ? "after another one" : "as the first one"}`;
    }
    const capability = capabilities.find((name) => plugin.capabilities?.includes(name) === false);
    if (capability !== undefined) {
      return `plugin "${type}": it does not know capability "${capability}"`;
    }
    // Given by the runtime. The plugins also read one that is written here, with more keys than davit gives.
    if (config["runtimeConfig"] !== undefined) {
      return `plugin "${type}": it does not know key "runtimeConfig"`;
    }
    const conf = { ...config, name: list.name, cniVersion: list.cniVersion };
    const why = plugin.obstacle(conf);
    if (why !== undefined) return `plugin "${type}": ${why}`;
  }
  return undefined;
}

/** Carries out networks without {@link networkObstacle}. */
export class BuiltinRunner implements ListRunner {
  readonly #timeoutMs: number;
  readonly #onRun: PluginObserver | undefined;

  constructor(options: {
    readonly timeoutMs: number;
    readonly onRun?: PluginObserver | undefined;
  }) {
    this.#timeoutMs = options.timeoutMs;
    this.#onRun = options.onRun;
  }

  /**
   * As the plugin: `deadline-exceeded` when it takes too long. It stops then before its next change, and a change that
   * the kernel is busy with is waited for.
   */
  async run(request: PluginRequest): Promise<string> {
    const { command, plugin } = request;
    const startedMs = performance.now();
    // Not AbortSignal.timeout(), whose timer would stay in memory for its whole time.
    const limit = new AbortController();
    const timer = setTimeout(() => {
      limit.abort(new DOMException(`not done after ${this.#timeoutMs} ms`, "TimeoutError"));
    }, this.#timeoutMs);
    const signal = AbortSignal.any([request.signal, limit.signal]);
    let failed = true;
    try {
      const text = await carryOut({ ...request, signal });
      failed = false;
      return text;
    } catch (error) {
      if (signal.aborted) throw wrap(`plugin ${plugin.type}`, signal.reason);
      if (isAnswer(error)) throw wrap(`plugin ${plugin.type}`, error);
      throw new PluginError(codeInternal, `plugin ${plugin.type}: ${messageOf(error)}`);
    } finally {
      clearTimeout(timer);
      const tookMs = performance.now() - startedMs;
      this.#onRun?.({ plugin: plugin.type, command, tookMs, failed });
    }
  }
}

/** True for an error that davit itself has found, with a kind that says what the caller can do. */
function isAnswer(error: unknown): boolean {
  // What the kernel says of an object on the way, as `not-found`, is not about the pod.
  if (!(error instanceof RuntimeError) || error instanceof SystemError) return false;
  return ["invalid-argument", "failed-precondition", "unavailable"].some(
    (kind) => error.kind === kind,
  );
}

async function carryOut(request: PluginRequest): Promise<string> {
  const { command, list, plugin, target, prevResult, signal } = request;
  const builtin = byType.get(plugin.type);
  if (builtin === undefined || target === undefined) {
    throw new Error(`${command} of plugin "${plugin.type}" is not built in`);
  }
  const call: PluginCall = {
    containerId: target.sandboxId,
    netns: target.netnsPath,
    ifName: target.ifName,
    conf: pluginConfiguration(request),
    signal,
  };
  const previous =
    prevResult === undefined
      ? undefined
      : (convertResult(prevResult, "1.0.0") as unknown as CniResult);
  if (command === "DEL") {
    await builtin.del(call, previous);
    return "";
  }
  const result = await builtin.add(call, previous);
  return JSON.stringify(convertResult({ ...result }, list.cniVersion));
}
