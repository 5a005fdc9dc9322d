/** The NRI plugin that is measured, seen from the bench. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Server } from "./server.ts";

const connectMs = 10_000;

/** What the plugin's process is told: to be connected and answer without or with an adjustment, or not. */
export type Order = "answer" | "adjust" | "disconnect";

interface Facts {
  readonly plugins: readonly { readonly events: readonly string[] }[];
}

/** A plugin's process, which can connect to one server. */
export class MeasuredPlugin implements AsyncDisposable {
  readonly #server: Server;
  readonly #child: ChildProcess;

  constructor(server: Server, socket: string) {
    this.#server = server;
    const program = path.join(import.meta.dirname, "nri-plugin.ts");
    this.#child = fork(program, [socket], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  /** Tells the plugin, and waits until the server has synchronized it, or has noticed its end. */
  async tell(order: Order): Promise<void> {
    await this.#send("disconnect");
    if (order !== "disconnect") await this.#send(order);
  }

  async #send(order: Order): Promise<void> {
    this.#child.send(order);
    const wanted = order === "disconnect" ? 0 : 1;
    const begin = performance.now();
    while ((await this.#connected()) !== wanted) {
      if (performance.now() - begin > connectMs) {
        throw new Error(`${this.#server.name}: plugin "50-bench" did not ${order}; see its log`);
      }
      await sleep(5);
    }
  }

  /** The number of plugins that the server asks at CreateContainer. */
  async #connected(): Promise<number> {
    const { info } = await this.#server.client.runtime.status({ verbose: true });
    const { plugins } = JSON.parse(info["nri"] ?? '{"plugins":[]}') as Facts;
    return plugins.filter(({ events }) => events.includes("CreateContainer")).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}
