// A node with plugins, for tests: NriPlugins on a socket in a directory of its own, and pods that are only described.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { type LogFields, type Logger, silentLogger } from "../../../base/logger.ts";
import type { ContainerOfPlugins, PluginHost } from "../../../core/plugin/index.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import {
  ContainerSchema,
  type ContainerUpdate,
  PodSandboxSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { until } from "../../../linux/testing/leaks.ts";
import { bitOf, events } from "../event.ts";
import type { NriOptions } from "../options.ts";
import { NriPlugins } from "../plugins.ts";
import { TestPlugin, type TestPluginOptions } from "./plugin.ts";

/** A signal that is never aborted. */
export const noAbort = new AbortController().signal;

/** A pod, of which only its id matters. */
export function podOf(id: string): Sandbox {
  return { id } as Sandbox;
}

/** A container, of which only ids matter. */
export function containerOf(id: string, pod = "pod"): ContainerOfPlugins {
  const container = { id, sandboxId: pod } as ContainerOfPlugins["container"];
  return { container, sandbox: podOf(pod), spec: () => Promise.resolve(undefined) };
}

/** What the plugins of a test see and do. */
export interface TestNode extends AsyncDisposable {
  readonly plugins: NriPlugins;
  readonly directory: string;
  readonly socketPath: string;
  readonly pluginDirectory: string;
  readonly configDirectory: string;
  /** The lines of the log with their levels: "warn: text". */
  readonly lines: readonly string[];
  /** Updates that plugins asked for by themselves. */
  readonly updated: ContainerUpdate[];
  /** Evictions that plugins asked for, as "plugin: container". */
  readonly evicted: string[];
}

/** Options of a test's node. */
export interface TestNodeOptions extends Partial<NriOptions> {
  readonly pods?: readonly Sandbox[];
  readonly containers?: readonly ContainerOfPlugins[];
  /** Runs before the plugins are started. */
  readonly before?: (node: Pick<TestNode, "pluginDirectory" | "configDirectory">) => void;
  readonly host?: Partial<PluginHost>;
}

/** Starts NriPlugins. */
export async function startNode(options: TestNodeOptions = {}): Promise<TestNode> {
  const directory = mkdtempSync(join(tmpdir(), "davit-nri-"));
  const [pluginDirectory, configDirectory] = [join(directory, "plugins"), join(directory, "conf")];
  const socketPath = join(directory, "run", "nri.sock");
  for (const made of [pluginDirectory, configDirectory]) mkdirSync(made);
  options.before?.({ pluginDirectory, configDirectory });
  const lines: string[] = [];
  const updated: ContainerUpdate[] = [];
  const evicted: string[] = [];
  const plugins = new NriPlugins({
    socketPath,
    pluginDirectory,
    configDirectory,
    timeouts: { registrationMs: 10_000, requestMs: 10_000 },
    version: "1.2.3",
    describe: {
      pod: ({ id }) => create(PodSandboxSchema, { id }),
      container: ({ container, sandbox }) =>
        Promise.resolve(create(ContainerSchema, { id: container.id, podSandboxId: sandbox.id })),
    },
    log: logTo(lines),
    ...options,
  });
  await plugins.start({
    list: () => ({ pods: options.pods ?? [], containers: options.containers ?? [] }),
    update: (updates) => {
      updated.push(...updates);
      return Promise.resolve([]);
    },
    evict: (evictions, plugin) => {
      evicted.push(...evictions.map(({ containerId }) => `${plugin}: ${containerId}`));
      return Promise.resolve();
    },
    ...options.host,
  });
  return {
    plugins,
    directory,
    socketPath,
    pluginDirectory,
    configDirectory,
    lines,
    updated,
    evicted,
    async [Symbol.asyncDispose]() {
      await plugins.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function logTo(lines: string[]): Logger {
  const at =
    (level: string) =>
    (message: string, _fields?: LogFields): void => {
      lines.push(`${level}: ${message}`);
    };
  const log: Logger = {
    ...silentLogger,
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: () => log,
  };
  return log;
}

/** A promise that never settles, for a plugin that does not answer. */
export const never: Promise<never> = new Promise<never>(() => undefined);

/** The mask of these events. */
export function maskOf(...names: readonly (keyof typeof events)[]): number {
  return names.reduce((all, name) => all | bitOf(events[name]), 0);
}

/** Connects a plugin and waits until it is asked. */
export async function connected(
  node: TestNode,
  options: TestPluginOptions = {},
): Promise<TestPlugin> {
  const before = node.plugins.status.plugins.length;
  const plugin = await TestPlugin.register(node.socketPath, options);
  await until("the plugin is synchronized", () => node.plugins.status.plugins.length > before);
  return plugin;
}

/** The names of the connected plugins, in order. */
export function namesOf(node: TestNode): readonly string[] {
  return node.plugins.status.plugins.map(({ name }) => name);
}
