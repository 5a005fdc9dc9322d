import { isKind, messageOf } from "../../base/errors.ts";
import { type Choice, RunnerChoice } from "./choice.ts";
import { listConfigurations, loadDir, type InvalidFile } from "./conf-dir.ts";
import { type JsonObject, type NetworkList, parseNetworkList } from "./conflist.ts";
import { codeUnknownContainer, PluginError } from "./plugin-error.ts";
import { execOnHost } from "./plugin-exec.ts";
import { type CallTarget, type PluginRequest, PluginRunner } from "./plugin-runner.ts";
import { parseResult, podAddresses } from "./result.ts";
import { isAtLeast } from "./version.ts";

/** The content of a directory of network configurations, as a daemon would read it. */
export interface NetworkReading {
  readonly directory: string;
  readonly directoryExists: boolean;
  /** Every configuration file, in the order in which they are read. */
  readonly files: readonly string[];
  /** The one that pods would get. */
  readonly network:
    | {
        readonly file: string;
        readonly name: string;
        readonly cniVersion: string;
        readonly plugins: readonly { readonly type: string; readonly config: JsonObject }[];
        /** For {@link tryPlugins}. */
        readonly text: string;
      }
    | undefined;
  readonly invalid: readonly InvalidFile[];
  /** Plugins of the network that it needs and that are in none of `binDirs`. */
  readonly missing: readonly string[];
  readonly binDirs: readonly string[];
  /** The setting `cni.builtin`. */
  readonly builtin: boolean;
  /** Why plugins carry out the network; undefined when davit does it itself. */
  readonly pluginReason: string | undefined;
}

/** One call of one plugin, and how it went. */
export interface PluginStep {
  readonly command: "STATUS" | "ADD" | "DEL";
  readonly plugin: string;
  readonly ms: number;
  /** What went wrong, in words. */
  readonly error?: string;
  /** It exceeded its timeout and was killed. */
  readonly timedOut?: boolean;
}

/** The interface that a trial makes in its namespace. */
const trialInterface = "eth0";

/** Reads a directory once, without watching it. Never rejects for invalid content. */
export async function readNetwork(
  directory: string,
  { binDirs, builtin }: Pick<NetworkReading, "binDirs" | "builtin">,
): Promise<NetworkReading> {
  const files = await listConfigurations(directory).catch(() => undefined);
  const { network, invalid } = await loadDir(directory);
  const reading = { binDirs, builtin };
  const reason = network && (await choose(network.list, reading, 0)).reason;
  const needsPlugins = network !== undefined && reason !== undefined;
  return {
    directory,
    directoryExists: files !== undefined,
    files: files ?? [],
    network: network && { ...network.list, file: network.file },
    invalid,
    missing: needsPlugins ? pluginsOf(binDirs, 0).findMissing(network.list) : [],
    binDirs,
    builtin,
    pluginReason: reason,
  };
}

function pluginsOf(binDirs: readonly string[], timeoutMs: number): PluginRunner {
  return new PluginRunner({ binDirs, env: process.env, exec: execOnHost, timeoutMs });
}

async function choose(
  list: NetworkList,
  { binDirs, builtin }: Pick<NetworkReading, "binDirs" | "builtin">,
  timeoutMs: number,
): Promise<Choice> {
  const plugins = pluginsOf(binDirs, timeoutMs);
  return await new RunnerChoice({ builtin, plugins, timeoutMs }).of(list);
}

/**
 * Attaches a network namespace as a pod's would be, and detaches it in any case: STATUS
 * where the configuration has it, ADD of each plugin until one fails, DEL of all in reverse. The
 * plugins get no pod name, so that those which look pods up in Kubernetes do not fail.
 */
export async function tryPlugins(
  { network, binDirs, builtin }: NetworkReading,
  options: {
    readonly id: string;
    readonly netnsPath: string;
    readonly pluginTimeoutMs: number;
    /** Between the ADDs and the DELs. */
    readonly onAdded: () => Promise<void>;
    readonly signal: AbortSignal;
  },
): Promise<{ readonly steps: readonly PluginStep[]; readonly ips: readonly string[] }> {
  if (network === undefined) return { steps: [], ips: [] };
  const list = parseNetworkList(network.text);
  const { runner } = await choose(list, { binDirs, builtin }, options.pluginTimeoutMs);
  const steps: PluginStep[] = [];
  const call = async (request: Omit<PluginRequest, "list">): Promise<string | undefined> => {
    const { command, plugin } = request;
    const begun = performance.now();
    const ended = (outcome: Pick<PluginStep, "error" | "timedOut">): void => {
      const ms = performance.now() - begun;
      if (command !== "GC") steps.push({ command, plugin: plugin.type, ms, ...outcome });
    };
    try {
      const text = (await runner.run({ ...request, list })).trim();
      if (command === "ADD") parseResult(text, list.cniVersion);
      ended({});
      return text;
    } catch (error) {
      const isClean = command === "DEL" && isPluginCode(error, codeUnknownContainer);
      const timedOut = isKind(error, "deadline-exceeded");
      ended(isClean ? {} : { error: messageOf(error), timedOut });
      return undefined;
    }
  };

  const { signal } = options;
  if (isAtLeast(list.cniVersion, "1.1.0")) {
    for (const plugin of list.plugins) await call({ command: "STATUS", plugin, signal });
  }
  const target: CallTarget = {
    sandboxId: options.id,
    netnsPath: options.netnsPath,
    ifName: trialInterface,
    args: { cniArgs: "IgnoreUnknown=1", capabilityArgs: {} },
  };
  let result: JsonObject | undefined;
  let ips: readonly string[] = [];
  for (const plugin of list.plugins) {
    const previous = result && { prevResult: result };
    const text = await call({ command: "ADD", plugin, target, signal, ...previous });
    if (text === undefined) break;
    result = parseResult(text, list.cniVersion);
    ips = addressesOf(result);
  }
  await options.onAdded();
  const previous = result && isAtLeast(list.cniVersion, "0.4.0") && { prevResult: result };
  // With its own timeout: the attachment is removed although the caller gave up.
  const deleting = AbortSignal.timeout(options.pluginTimeoutMs * list.plugins.length);
  for (const plugin of list.plugins.toReversed()) {
    await call({ command: "DEL", plugin, target, signal: deleting, ...previous });
  }
  return { steps, ips };
}

function isPluginCode(error: unknown, code: number): boolean {
  return error instanceof PluginError && error.code === code;
}

function addressesOf(result: JsonObject): readonly string[] {
  try {
    return podAddresses(result, trialInterface);
  } catch {
    return []; // reported as "no address"
  }
}
