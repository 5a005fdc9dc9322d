/** A real daemon for integration tests, with root, state, socket and network in one directory. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "smol-toml";
import { CriClient } from "../../src/client/cri-client.ts";
import { bridgeConflist, type Conflist, testBridge, writeConflist } from "./cni.ts";
import { type LeakCheckOptions, portmapKeeps } from "./leaks.ts";
import { patient } from "./patience.ts";
import { readMounts } from "./snapshot/files.ts";
import { hasSystemdDriver } from "./systemd-driver.ts";

const repo = path.resolve(import.meta.dirname, "../..");

/** A table of the configuration file: its keys, and the tables in it. */
export interface ConfigTable {
  readonly [key: string]:
    | string
    | number
    | boolean
    | readonly string[]
    | readonly ConfigTable[]
    | ConfigTable;
}

export interface DaemonOptions {
  /** Merged into the test's configuration, table by table. */
  readonly config?: ConfigTable;
  /** The ranges of the bridge network; not used with `conflist`. */
  readonly subnets?: readonly string[];
  /** A network other than bridge and portmap; null for none. */
  readonly conflist?: Conflist | null;
  /** A plugin directory that is searched before /usr/lib/cni: `ScriptedPlugin.binDir`. */
  readonly pluginDirs?: readonly string[];
  /** Added to the environment: crash points, an injected boot id. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * The program and its first arguments, before `serve --config FILE`; a .ts file is run by this
   * node. The default is what DAVIT_TEST_ENTRY names, else bin/davit, which needs a build.
   */
  readonly entry?: readonly string[];
  /** Root and state are on a tmpfs of this many MiB, at `<directory>/disk`. */
  readonly diskMiB?: number;
  /** With `diskMiB`: the state is not on that tmpfs. */
  readonly stateElsewhere?: boolean;
  /** How long the first answer may take; 20000. */
  readonly readyTimeoutMs?: number;
}

/** The paths of the daemon. */
interface DaemonPaths {
  /** All other paths are below it. */
  readonly directory: string;
  readonly root: string;
  readonly state: string;
  readonly socket: string;
  readonly config: string;
  readonly confDir: string;
  readonly ipamDir: string;
  /** Where plugins of the node connect, if the configuration turns them on. */
  readonly nriSocket: string;
}

/** How a daemon's process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A line of the daemon's stderr: a JSON log line as an object, anything else as `text`. */
export interface LogLine {
  readonly text: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A daemon that a test starts, kills and starts again on the same files. */
export class TestDaemon implements AsyncDisposable {
  readonly paths: DaemonPaths;
  /** Everything that it wrote to stderr, across restarts. */
  readonly lines: LogLine[] = [];
  readonly client: CriClient;
  readonly #options: DaemonOptions;
  readonly #command: Command;
  #child: ChildProcess | undefined;
  #exited: Promise<Exit> = Promise.resolve({ code: 0, signal: null });

  private constructor(options: DaemonOptions) {
    const directory = mkdtempSync(path.join(tmpdir(), "davit-d-"));
    const at = (name: string): string => path.join(directory, name);
    const disk = at("disk");
    if (options.diskMiB !== undefined) {
      mkdirSync(disk);
      const size = `size=${options.diskMiB}m`;
      execFileSync("mount", ["-t", "tmpfs", "-o", size, "davit-test-disk", disk]);
    }
    const on = options.diskMiB === undefined ? directory : disk;
    const state = path.join(options.stateElsewhere === true ? directory : on, "state");
    this.paths = {
      directory,
      root: path.join(on, "root"),
      state,
      socket: path.join(state, "davit.sock"),
      config: at("davit.toml"),
      confDir: at("net.d"),
      ipamDir: at("ipam"),
      nriSocket: path.join(state, "nri.sock"),
    };
    this.#options = options;
    this.#command = commandOf(options.entry);
    this.client = new CriClient(`unix://${this.paths.socket}`);
  }

  /** Writes the files, starts the daemon and waits until it answers. */
  static async start(options: DaemonOptions = {}): Promise<TestDaemon> {
    const daemon = TestDaemon.prepare(options);
    try {
      await daemon.restart();
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Only writes the files: for a daemon whose start is the test. `launch` starts it. */
  static prepare(options: DaemonOptions = {}): TestDaemon {
    const daemon = new TestDaemon(options);
    const { paths } = daemon;
    mkdirSync(paths.confDir);
    mkdirSync(paths.ipamDir);
    if (options.conflist !== null) {
      const { subnets } = options;
      const network = { ipamDir: paths.ipamDir, ...(subnets === undefined ? {} : { subnets }) };
      writeConflist(paths.confDir, "10-test.conflist", options.conflist ?? bridgeConflist(network));
    }
    daemon.writeConfig(options.config ?? {});
    return daemon;
  }

  /** Writes another configuration for the next start. */
  writeConfig(changes: ConfigTable): void {
    const { root, state, socket, confDir, config } = this.paths;
    const own: ConfigTable = {
      root,
      state,
      server: { listen: socket },
      log: { level: "debug" },
      runtime: {
        ...(hasSystemdDriver && { cgroup_driver: "systemd" }),
        ...(process.env["DAVIT_TEST_MONITOR"] === "conmon" && { monitor: "conmon" }),
      },
      cni: {
        conf_dir: confDir,
        bin_dirs: [...(this.#options.pluginDirs ?? []), "/usr/lib/cni"],
        ...(process.env["DAVIT_TEST_CNI_BUILTIN"] === "off" && { builtin: false }),
      },
      // The host's own must not matter.
      images: { registries_conf: "", verification: { policy_json: "" } },
      // Its socket is in /run, outside of the daemon's directory.
      cadvisor: { serve: "never" },
      // Off, since the plugins of the host must not matter. A test that sets `enable` has its own paths.
      nri: {
        enable: false,
        socket_path: this.paths.nriSocket,
        plugin_path: path.join(this.paths.directory, "nri-plugins"),
        plugin_config_path: path.join(this.paths.directory, "nri-conf"),
      },
    };
    writeFileSync(config, stringify(merge(own, changes)));
  }

  /** Writes its original configuration with changes, for the next start. */
  changeConfig(changes: ConfigTable): void {
    this.writeConfig(merge(this.#options.config ?? {}, changes));
  }

  /** The process now running; an error if there is none. */
  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("get the daemon's pid: it does not run");
    return pid;
  }

  /** How the process that runs now, or ran last, ends. */
  get exited(): Promise<Exit> {
    return this.#exited;
  }

  /** Starts the process and does not wait for it to answer. */
  launch(env: Readonly<Record<string, string>> = {}): void {
    if (this.#child !== undefined) throw new Error("start the daemon: it runs already");
    const [program, ...args] = this.#command;
    const child = spawn(program, [...args, "serve", "--config", this.paths.config], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, ...this.#options.env, ...env },
    });
    this.#child = child;
    createInterface({ input: child.stderr }).on("line", (text) => {
      this.lines.push({ text, fields: parseFields(text) });
    });
    this.#exited = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, signal) => {
        this.#child = undefined;
        resolve({ code, signal });
      });
    });
    // A failed start that is not awaited must not end the test process.
    this.#exited.catch(() => undefined);
  }

  /** Resolves when Version is answered. Fails with the end of the log if the daemon ends, or is too slow. */
  async ready(): Promise<void> {
    const timeoutMs = patient(this.#options.readyTimeoutMs ?? 20_000);
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      if (this.#child === undefined) {
        const { code, signal } = await this.#exited;
        throw new Error(`wait for the daemon: it ended (${code ?? signal ?? ""})\n${this.tail()}`);
      }
      try {
        await this.client.runtime.version({}, { timeoutMs: patient(2000) });
        return;
      } catch (error) {
        if (Date.now() > deadline) {
          const said = `no answer in ${timeoutMs / 1000} s: ${String(error)}`;
          throw new Error(`wait for the daemon: ${said}\n${this.tail()}`, { cause: error });
        }
      }
      await sleep(10);
    }
  }

  /** Kills it with SIGKILL; resolves when it has ended. */
  async kill9(): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.#exited;
  }

  /** Ends it with SIGTERM. Fails if that takes longer than 15 s. */
  async stop(): Promise<Exit> {
    const child = this.#child;
    if (child === undefined) return this.#exited;
    const timer = setTimeout(() => child.kill("SIGKILL"), patient(15_000));
    child.kill("SIGTERM");
    const exit = await this.#exited;
    clearTimeout(timer);
    if (exit.signal === "SIGKILL") {
      throw new Error(`stop the daemon: still there 15 s after SIGTERM\n${this.tail()}`);
    }
    return exit;
  }

  /** Stops it if it runs, starts it on the same files, and waits until it answers. */
  async restart(env: Readonly<Record<string, string>> = {}): Promise<void> {
    await this.stop();
    this.launch(env);
    await this.ready();
  }

  /** Resolves with the first line that matches, of those from `from` on; fails after `timeoutMs`. */
  async waitForLine(pattern: RegExp, from = 0, timeoutMs = 10_000): Promise<LogLine> {
    const deadline = Date.now() + patient(timeoutMs);
    for (;;) {
      const line = this.lines.slice(from).find(({ text }) => pattern.test(text));
      if (line !== undefined) return line;
      if (Date.now() > deadline) throw new Error(`wait for log line ${pattern}\n${this.tail()}`);
      await sleep(10);
    }
  }

  /** The last lines of its log, for the message of a failure. */
  tail(count = 30): string {
    return this.lines
      .slice(-count)
      .map(({ text }) => `  ${text}`)
      .join("\n");
  }

  /**
   * Options of withLeakCheck for work with this daemon: its descriptors, rows, files and IPAM. Objects that the
   * plugins keep by design are allowed; disposal removes the bridge.
   */
  leakOptions(): LeakCheckOptions {
    const { root, state, ipamDir } = this.paths;
    return {
      daemonPid: () => this.pid,
      database: () => globSync(path.join(root, "**/*.{db,sqlite}"))[0],
      roots: [root, state],
      cniDirs: [ipamDir],
      // SQLite creates and removes its own files with connections and checkpoints.
      // The history of operations begins with the first one.
      ignoreFiles: [/-(wal|shm|journal)$/, /\/history\/(operations\.jsonl)?$/],
      allow: {
        ...portmapKeeps,
        link: [new RegExp(`^${testBridge} `)],
        address: [new RegExp(` on ${testBridge}$`)],
        route: [new RegExp(` dev ${testBridge} `)],
      },
    };
  }

  /** Ends the daemon, unmounts everything in its directory, and removes the directory and the test bridge. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.client.close();
      // The daemon leaves pods running by design: those of a failed test must not fail the next one.
      for (const { target } of readMounts().toReversed()) {
        if (target.startsWith(`${this.paths.directory}/`)) spawnSync("umount", ["--lazy", target]);
      }
      if (existsSync(`/proc/sys/net/ipv4/conf/${testBridge}`)) {
        spawnSync("ip", ["link", "delete", testBridge]);
      }
      rmSync(this.paths.directory, { recursive: true, force: true });
    }
  }
}

type Command = readonly [program: string, ...args: string[]];

function commandOf(entry?: readonly string[]): Command {
  const fromEnvironment = process.env["DAVIT_TEST_ENTRY"];
  const given = entry ?? (fromEnvironment === undefined ? undefined : [fromEnvironment]);
  const [program = path.join(repo, "bin/davit"), ...args] = given ?? [];
  if (!program.endsWith(".ts")) return [program, ...args];
  return [process.execPath, path.resolve(repo, program), ...args];
}

/** Tables are merged, values replaced. */
function merge(base: ConfigTable, changes: ConfigTable): ConfigTable {
  const merged: Record<string, ConfigTable[string]> = { ...base };
  for (const [key, value] of Object.entries(changes)) {
    const old = merged[key];
    merged[key] = isTable(old) && isTable(value) ? merge(old, value) : value;
  }
  return merged;
}

function isTable(value: ConfigTable[string] | undefined): value is ConfigTable {
  return typeof value === "object" && !Array.isArray(value);
}

function parseFields(text: string): LogLine["fields"] {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as LogLine["fields"]) : {};
  } catch {
    return {}; // Not from the logger: a crash of node itself, say.
  }
}
