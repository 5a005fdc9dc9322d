/**
 * Measures the daemon's memory from outside after a full garbage collection, through the inspector that SIGUSR1
 * opens in Node (on 127.0.0.1:9229, so use it only in a network namespace of your own).
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const inspector = "http://127.0.0.1:9229/json/list";

interface Answer {
  readonly id?: number;
  readonly result?: { readonly result?: { readonly value?: unknown } };
  readonly error?: { readonly message: string };
}

/** The memory of a process. Bytes. */
interface MemoryUse {
  /**
   * Objects that are in use, and buffers outside of the heap. Without compiled code, which V8 adds
   * and drops as it likes: some 100 KiB in the first few hundred pods.
   */
  readonly heap: number;
  /** Anonymous memory of the process, used or not (RssAnon, proc_pid_status(5)). */
  readonly resident: number;
}

/** A connection to the inspector of a running daemon. */
export class DaemonMemory implements Disposable {
  readonly #pid: number;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #calls = 0;

  private constructor(pid: number, socket: WebSocket) {
    this.#pid = pid;
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const answer = JSON.parse(String(data)) as Answer;
      if (answer.id !== undefined) this.#waiting.get(answer.id)?.(answer);
    });
  }

  /** Opens the inspector of the process and connects to it. */
  static async attach(pid: number): Promise<DaemonMemory> {
    process.kill(pid, "SIGUSR1");
    const socket = new WebSocket(await inspectorUrl());
    await once(socket, "open");
    return new DaemonMemory(pid, socket);
  }

  async use(): Promise<MemoryUse> {
    // Twice: finalizers of the first collection release objects that the second one frees.
    await this.#call("HeapProfiler.collectGarbage");
    await this.#call("HeapProfiler.collectGarbage");
    const { result } = await this.#call("Runtime.evaluate", {
      expression: `(${String(usedByObjects)})()`,
      returnByValue: true,
    });
    const heap = result?.result?.value;
    if (typeof heap !== "number") throw new Error(`read the heap: got ${JSON.stringify(result)}`);
    const status = readFileSync(`/proc/${this.#pid}/status`, "utf8");
    const [, kilobytes = ""] = /^RssAnon:\s+(\d+) kB$/m.exec(status) ?? [];
    return { heap, resident: Number(kilobytes) * 1024 };
  }

  async #call(method: string, params: object = {}): Promise<Answer> {
    this.#calls += 1;
    const id = this.#calls;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    this.#socket.send(JSON.stringify({ id, method, params }));
    const answer = await promise;
    this.#waiting.delete(id);
    if (answer.error !== undefined) throw new Error(`call ${method}: ${answer.error.message}`);
    return answer;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Runs in the daemon, so it uses nothing of this module. */
function usedByObjects(): number {
  const { getHeapSpaceStatistics } = process.getBuiltinModule("node:v8");
  return getHeapSpaceStatistics()
    .filter(({ space_name: name }) => !/code|trusted|read_only/.test(name))
    .reduce((sum, space) => sum + space.space_used_size, process.memoryUsage().external);
}

async function inspectorUrl(): Promise<string> {
  for (let tries = 1; ; tries++) {
    try {
      const targets = (await (await fetch(inspector)).json()) as { webSocketDebuggerUrl: string }[];
      const [target] = targets;
      if (target !== undefined) return target.webSocketDebuggerUrl;
    } catch (error) {
      // The inspector opens on a thread of its own, some time after the signal.
      if (tries === 100) throw error;
    }
    await sleep(50);
  }
}
