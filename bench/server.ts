/** A CRI server that is measured: all servers are called and inspected in the same way. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, openSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { CriClient } from "../src/client/cri-client.ts";
import { processTree } from "./procfs.ts";

const startTimeoutMs = 30_000;
const stopTimeoutMs = 15_000;

/** The environment of both servers; davit's plugins inherit it as containerd's do. */
export const environment = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };

/** How a server is called and found. */
interface ServerOptions {
  readonly name: string;
  readonly socket: string;
  /** Where plugins of the node (NRI) connect; undefined if they cannot. */
  readonly nriSocket?: string | undefined;
  /** In the command line of its processes that are not its descendants, such as shims. */
  readonly mark: string;
  /** How it is run, or the directory in a /proc of the process of a server that the bench does not run. */
  readonly run: Command | string;
}

/** How a server is run. */
interface Command {
  readonly command: readonly [program: string, ...args: string[]];
  /** Beside, or instead of, the environment of both servers. */
  readonly env?: Readonly<Record<string, string>>;
  /** Its stderr is appended to this. */
  readonly logFile: string;
}

/** One server, with the same files for all of its starts. */
export class Server {
  readonly #options: ServerOptions;
  #client: CriClient;
  #child: ChildProcess | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#client = new CriClient(options.socket);
  }

  get name(): string {
    return this.#options.name;
  }

  get socket(): string {
    return this.#options.socket;
  }

  get nriSocket(): string | undefined {
    return this.#options.nriSocket;
  }

  get client(): CriClient {
    return this.#client;
  }

  /** Its processes, by their directories in a /proc: itself, what it started, and its monitors. */
  processes(): readonly string[] {
    return processTree(this.main, this.#options.mark);
  }

  /** The directory of the server itself in a /proc. */
  get main(): string {
    const { run } = this.#options;
    return typeof run === "string" ? run : `/proc/${this.mainPid}`;
  }

  get mainPid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} is not running`);
    return pid;
  }

  /** Starts it and waits until it answers Version; how long that took, in milliseconds. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<number> {
    const { run, socket } = this.#options;
    if (typeof run === "string") throw new Error(`${this.name} is not run by the bench`);
    const { command, logFile, env: own } = run;
    const [program, ...args] = command;
    // The socket of an earlier run must not count as that of the new one.
    await rm(socket, { force: true });
    const log = openSync(logFile, "a");
    const begin = performance.now();
    const child = spawn(program, args, {
      stdio: ["ignore", log, log],
      detached: true, // a session of its own, as a service manager gives it
      env: { ...environment, ...own, ...env },
    });
    this.#child = child;
    child.once("exit", () => {
      if (this.#child === child) this.#child = undefined;
    });
    child.once("error", () => undefined);
    for (;;) {
      if (existsSync(socket) && (await this.#answers())) return performance.now() - begin;
      if (
        child.exitCode !== null ||
        child.signalCode !== null ||
        performance.now() - begin > startTimeoutMs
      ) {
        const log = await readFile(logFile, "utf8");
        throw new Error(`${this.name} does not answer:\n${log.slice(-4000)}`);
      }
      await sleep(1);
    }
  }

  /** Ends it as the service manager does; its pods stay. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const timer = setTimeout(() => child.kill("SIGKILL"), stopTimeoutMs);
    child.kill("SIGTERM");
    await ended;
    clearTimeout(timer);
    this.#client.close();
    this.#client = new CriClient(this.#options.socket);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async #answers(): Promise<boolean> {
    try {
      await this.#client.runtime.version({}, { timeoutMs: 5000 });
      return true;
    } catch {
      return false; // It listens, and is not ready yet.
    }
  }
}
