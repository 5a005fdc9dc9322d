/** CNI for tests: the conflist that benchmarks use, too, and a scripted plugin. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { patient } from "./patience.ts";

/** A network configuration list (CNI specification, section 1); plugins hold what they like. */
export interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/** The bridge of `bridgeConflist`. The plugin makes it with the first pod and never removes it. */
export const testBridge = "dvt0";

interface BridgeOptions {
  /** Where host-local keeps its addresses: a directory of the test's own. */
  readonly ipamDir: string;
  /** One range each; a second one of the other family makes the network dual stack. */
  readonly subnets?: readonly string[];
  readonly name?: string;
  readonly bridge?: string;
  readonly cniVersion?: string;
  /** Plugins after bridge and portmap. */
  readonly more?: Conflist["plugins"];
}

/** bridge (isGateway, hairpinMode, no masquerading) with host-local, then portmap. */
export function bridgeConflist(options: BridgeOptions): Conflist {
  const subnets = options.subnets ?? ["10.92.0.0/16"];
  const anywhere = (subnet: string): string => (subnet.includes(":") ? "::/0" : "0.0.0.0/0");
  return {
    cniVersion: options.cniVersion ?? "1.0.0",
    name: options.name ?? "davit-test",
    plugins: [
      {
        type: "bridge",
        bridge: options.bridge ?? testBridge,
        isGateway: true,
        hairpinMode: true,
        ipMasq: false,
        ipam: {
          type: "host-local",
          dataDir: options.ipamDir,
          ranges: subnets.map((subnet) => [{ subnet }]),
          routes: subnets.map((subnet) => ({ dst: anywhere(subnet) })),
        },
      },
      { type: "portmap", capabilities: { portMappings: true } },
      ...(options.more ?? []),
    ],
  };
}

/** Writes a conflist into `confDir` by rename, as one event for a watcher of the directory. */
export function writeConflist(confDir: string, file: string, conflist: Conflist): void {
  mkdirSync(confDir, { recursive: true });
  // A name that no runtime reads as a configuration.
  const temporary = path.join(confDir, `.${file}.tmp`);
  writeFileSync(temporary, `${JSON.stringify(conflist, null, 2)}\n`);
  renameSync(temporary, path.join(confDir, file));
}

/** One call of a scripted plugin, as it received it. */
export interface PluginCall {
  /** ADD, DEL, CHECK, VERSION, STATUS or GC. */
  readonly command: string;
  /** The CNI_* variables. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** `stdin`, parsed. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly pid: number;
}

/** What a scripted plugin does when it is called. */
export type PluginBehaviour =
  | { readonly does: "succeed"; readonly result?: object }
  | { readonly does: "fail"; readonly error: { code: number; msg: string; details?: string } }
  | {
      readonly does: "print";
      readonly stdout: string;
      readonly stderr?: string;
      readonly exitCode: number;
    }
  /** Kills itself with a signal, without output. */
  | { readonly does: "die" }
  /** Never returns; `withGrandchild` leaves a child that holds its stdout. */
  | { readonly does: "hang"; readonly withGrandchild?: boolean }
  /** Returns only when `file` of its directory is gone: see `ScriptedPlugin.block`. */
  | { readonly does: "wait"; readonly file: string; readonly then?: PluginBehaviour };

/** What each command does. A command that is not named succeeds. */
export type PluginScript = Readonly<Partial<Record<string, PluginBehaviour>>>;

/** A plugin in a directory of the test. It records its calls and follows a script. */
export class ScriptedPlugin {
  /** The directory to configure as the runtime's first plugin directory. */
  readonly binDir: string;
  /** Its type in a conflist. */
  readonly type: string;
  readonly #directory: string;
  #script: PluginScript = {};
  #gates = 0;

  /** Writes the plugin as `<directory>/bin/<type>`. */
  constructor(directory: string, type = "scripted") {
    this.type = type;
    this.binDir = path.join(directory, "bin");
    this.#directory = path.join(directory, `${type}-plugin`);
    mkdirSync(this.binDir, { recursive: true });
    mkdirSync(path.join(this.#directory, "calls"), { recursive: true });
    const program = path.join(import.meta.dirname, "scripted-plugin.ts");
    const words = [process.execPath, program, this.#directory].map((word) => `'${word}'`).join(" ");
    const script = `#!/bin/sh\nunset NODE_OPTIONS NODE_TEST_CONTEXT\nexec ${words}\n`;
    writeFileSync(path.join(this.binDir, type), script, { mode: 0o755 });
  }

  /** Sets what `command` does from now on. Calls that have begun keep their behaviour. */
  on(command: string, behaviour: PluginBehaviour): void {
    this.#script = { ...this.#script, [command]: behaviour };
    const file = path.join(this.#directory, "script.json");
    writeFileSync(`${file}.tmp`, JSON.stringify(this.#script));
    renameSync(`${file}.tmp`, file);
  }

  /** Blocks calls of `command` from now on until the returned function is called. */
  block(command: string, then?: PluginBehaviour): () => void {
    this.#gates += 1;
    const file = `gate-${this.#gates}`;
    writeFileSync(path.join(this.#directory, file), "");
    this.on(command, { does: "wait", file, ...(then === undefined ? {} : { then }) });
    return () => {
      this.on(command, then ?? { does: "succeed" });
      rmSync(path.join(this.#directory, file), { force: true });
    };
  }

  /** The calls so far, oldest first; only those of `command` if it is given. */
  calls(command?: string): readonly PluginCall[] {
    const directory = path.join(this.#directory, "calls");
    return readdirSync(directory)
      .filter((file) => file.endsWith(".json"))
      .sort()
      .map((file) => JSON.parse(readFileSync(path.join(directory, file), "utf8")) as PluginCall)
      .filter((call) => command === undefined || call.command === command);
  }

  /** Resolves with the calls of `command` as soon as there are `count`; fails after `timeoutMs`. */
  async waitForCalls(
    command: string,
    count = 1,
    timeoutMs = 10_000,
  ): Promise<readonly PluginCall[]> {
    const deadline = Date.now() + patient(timeoutMs);
    for (;;) {
      const calls = this.calls(command);
      if (calls.length >= count) return calls;
      if (Date.now() > deadline) {
        const said = `saw ${calls.length} in ${timeoutMs / 1000} s`;
        throw new Error(`wait for ${count} calls of ${command} to plugin "${this.type}": ${said}`);
      }
      await sleep(10);
    }
  }
}
