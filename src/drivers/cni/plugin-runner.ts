import { accessSync, constants, statSync } from "node:fs";
import { join } from "node:path";

import { isKind, messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { PluginObserver } from "../../core/network/index.ts";
import type { AttachmentArgs } from "./attachment-args.ts";
import type { JsonObject, NetworkList, PluginConf } from "./conflist.ts";
import { pluginError } from "./plugin-error.ts";
import type { PluginExec, PluginExit } from "./plugin-exec.ts";

/** The attachment that a plugin is called for (specification 1.1.0, section 3). */
export interface CallTarget {
  readonly sandboxId: string;
  /** "" when the namespace does not exist. */
  readonly netnsPath: string;
  readonly ifName: string;
  readonly args: AttachmentArgs;
}

/** One call of one plugin of a network. */
export interface PluginRequest {
  readonly command: "ADD" | "DEL" | "STATUS" | "GC";
  readonly list: NetworkList;
  readonly plugin: PluginConf;
  /** Undefined for STATUS and GC, which are about the network and not about an attachment. */
  readonly target?: CallTarget;
  readonly prevResult?: JsonObject;
  /** More keys of the configuration that the plugin reads. */
  readonly extra?: JsonObject;
  readonly signal: AbortSignal;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false; // not there, or not ours to run: the next directory may have it
  }
}

/** Carries out the plugins of a network, one call at a time. */
export interface ListRunner {
  /** Returns what the plugin prints. Throws what it answers, as {@link PluginRunner.run}. */
  run(request: PluginRequest): Promise<string>;
}

/** Executes plugins: finds them, and builds what they are given. */
export class PluginRunner implements ListRunner {
  readonly #binDirs: readonly string[];
  readonly #env: Readonly<Record<string, string>>;
  readonly #exec: PluginExec;
  readonly #timeoutMs: number;
  readonly #onRun: PluginObserver | undefined;
  readonly #paths = new Map<string, string>();

  constructor(options: {
    readonly binDirs: readonly string[];
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly exec: PluginExec;
    readonly timeoutMs: number;
    readonly onRun?: PluginObserver | undefined;
  }) {
    this.#binDirs = options.binDirs;
    this.#exec = options.exec;
    this.#timeoutMs = options.timeoutMs;
    this.#onRun = options.onRun;
    const inherited = Object.entries(options.env).flatMap(([name, value]) =>
      value === undefined || name.startsWith("CNI_") ? [] : [[name, value] as const],
    );
    this.#env = { ...Object.fromEntries(inherited), CNI_PATH: options.binDirs.join(":") };
  }

  /** The types of `list` whose plugin is in none of the directories. Reads the directories. */
  findMissing(list: NetworkList): readonly string[] {
    const types = new Set(list.plugins.map(({ type }) => type));
    return [...types].filter((type) => {
      const known = this.#paths.get(type);
      if (known !== undefined && isExecutable(known)) return false;
      this.#paths.delete(type);
      return this.#find(type) === undefined;
    });
  }

  /** The sentence about a plugin that is in none of the directories. */
  missing(type: string): string {
    const dirs = this.#binDirs.join(", ");
    return `plugin "${type}" is not in ${dirs}: install it there or set cni.bin_dirs`;
  }

  /**
   * Runs one plugin and returns what it printed. Throws what the plugin answered (PluginError);
   * `failed-precondition` when it does not exist; `deadline-exceeded` when it took too long and was
   * killed; the signal's reason when that was aborted.
   */
  async run(request: PluginRequest): Promise<string> {
    const { type } = request.plugin;
    const startedMs = performance.now();
    let failed = true;
    try {
      const exit = await this.#execute(request);
      const error = pluginError(type, exit);
      if (error !== undefined) throw error;
      failed = false;
      return exit.stdout.toString("utf8");
    } finally {
      const { command } = request;
      const tookMs = performance.now() - startedMs;
      this.#onRun?.({ plugin: type, command, tookMs, failed });
    }
  }

  async #execute(request: PluginRequest): Promise<PluginExit> {
    const { type } = request.plugin;
    const call = {
      env: this.#environment(request),
      input: JSON.stringify({
        ...pluginConfiguration(request),
        ...(request.prevResult !== undefined && { prevResult: request.prevResult }),
      }),
      timeoutMs: this.#timeoutMs,
      signal: request.signal,
    };
    const known = this.#paths.get(type);
    try {
      if (known !== undefined) return await this.#exec({ ...call, file: known });
    } catch (error) {
      // Replaced by one in another directory since it was looked up; it did not run.
      if (!isKind(error, "not-found")) throw this.#explain(type, error, request.signal);
      this.#paths.delete(type);
    }
    const file = this.#find(type);
    if (file === undefined) throw new RuntimeError("failed-precondition", this.missing(type));
    try {
      return await this.#exec({ ...call, file });
    } catch (error) {
      throw this.#explain(type, error, request.signal);
    }
  }

  #explain(type: string, error: unknown, signal: AbortSignal): RuntimeError {
    const doing = `plugin ${type}`;
    if (signal.aborted) return wrap(doing, signal.reason);
    // Not `not-found`, which means to kubelet that the pod does not exist. A script without its interpreter ends here.
    if (isKind(error, "not-found")) {
      return new RuntimeError("failed-precondition", `${doing}: ${messageOf(error)}`, {
        cause: error,
      });
    }
    return wrap(doing, error);
  }

  #find(type: string): string | undefined {
    const path = this.#binDirs.map((dir) => join(dir, type)).find(isExecutable);
    if (path !== undefined) this.#paths.set(type, path);
    return path;
  }

  #environment({ command, target }: PluginRequest): Readonly<Record<string, string>> {
    if (target === undefined) return { ...this.#env, CNI_COMMAND: command };
    return {
      ...this.#env,
      CNI_COMMAND: command,
      CNI_CONTAINERID: target.sandboxId,
      CNI_NETNS: target.netnsPath,
      CNI_IFNAME: target.ifName,
      CNI_ARGS: target.args.cniArgs,
    };
  }
}

/**
 * The configuration of a plugin for one call, without the result of the plugin before (specification 1.1.0, section 3,
 * "Deriving request configuration from plugin configuration").
 */
export function pluginConfiguration({ list, plugin, target, extra }: PluginRequest): JsonObject {
  const given = target?.args.capabilityArgs ?? {};
  const wanted = plugin.capabilities.filter((name) => given[name] !== undefined);
  return {
    ...plugin.config,
    ...extra,
    name: list.name,
    cniVersion: list.cniVersion,
    ...(wanted.length > 0 && {
      runtimeConfig: Object.fromEntries(wanted.map((name) => [name, given[name]])),
    }),
  };
}
