import { closeSync } from "node:fs";
import { Socket } from "node:net";
import type { Logger } from "../../base/logger.ts";
import { within } from "../../base/wait.ts";
import { type Child, SIGKILL, SIGTERM, spawnChildInPool } from "../../linux/process/index.ts";
import { connectedSockets } from "../../linux/stream/index.ts";
import type { FoundPlugin } from "./find.ts";
import { nameOf } from "./name.ts";
import { logOutput } from "./output.ts";

/** How long a plugin may take to end after SIGTERM. Milliseconds. */
const endMs = 2_000;
/** The descriptor of the plugin's end of the connection. */
const socketFd = 3;

/** A plugin that davit started, with its end of the connection. It is not started again when it ends. */
export class LaunchedPlugin {
  readonly socket: Socket;
  readonly #child: Child;
  #ending: Promise<void> | undefined;

  private constructor(child: Child, socket: Socket) {
    this.#child = child;
    this.socket = socket;
  }

  /** Starts a plugin. Its output goes to the log. */
  static async start({ path, name }: FoundPlugin, log: Logger): Promise<LaunchedPlugin> {
    const [near, far] = connectedSockets();
    const socket = new Socket({ fd: near, readable: true, writable: true });
    socket.on("error", () => undefined);
    try {
      const child = await spawnChildInPool({
        file: path,
        env: {
          NRI_PLUGIN_NAME: name.base,
          NRI_PLUGIN_IDX: name.index,
          NRI_PLUGIN_SOCKET: String(socketFd),
        },
        cwd: "/",
        newSession: true,
        stdout: "pipe",
        stderr: "pipe",
        extraFds: [far],
      });
      const plugin = nameOf(name);
      log.info(`started NRI plugin "${plugin}"`, { plugin, pid: child.pid });
      for (const stream of [child.stdout, child.stderr]) logOutput(stream, plugin, log);
      return new LaunchedPlugin(child, socket);
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      closeSync(far);
    }
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Ends the plugin and what it started: SIGTERM, then SIGKILL after 2 s. Idempotent. */
  async end(): Promise<void> {
    this.#ending ??= this.#end();
    await this.#ending;
  }

  async #end(): Promise<void> {
    const child = this.#child;
    this.socket.destroy();
    child.killGroup(SIGTERM);
    if (await within(child.exited, endMs)) return;
    child.killGroup(SIGKILL);
    await child.exited;
  }
}
