import { stat, statfs } from "node:fs/promises";
import { availableParallelism, cpus, freemem, hostname, totalmem } from "node:os";
import { parseEndpoint } from "../../client/cri-client.ts";
import type { DiskView, NodeView } from "../../page/view.ts";

/** The values of this machine in a NodeView. */
type MachineView = Pick<
  NodeView,
  "host" | "cores" | "cpuShare" | "memoryTotal" | "memoryUsed" | "upSinceMs"
>;

/** Samples this machine, which is that of the server: a CRI socket is a unix socket. */
export class NodeSampler {
  readonly #socket: string;
  #before = processorTimes();
  #share: number | undefined;

  constructor(endpoint: string) {
    this.#socket = parseEndpoint(endpoint);
  }

  /** The share of the processors is that since the last call. */
  async sample(): Promise<MachineView> {
    const now = processorTimes();
    const total = now.total - this.#before.total;
    if (total > 0) this.#share = 1 - (now.idle - this.#before.idle) / total;
    this.#before = now;
    return {
      host: hostname(),
      cores: availableParallelism(),
      cpuShare: this.#share,
      memoryTotal: totalmem(),
      memoryUsed: totalmem() - freemem(),
      upSinceMs: await this.#upSinceMs(),
    };
  }

  /** The CRI does not report it, but a server makes its socket when it starts. */
  async #upSinceMs(): Promise<number | undefined> {
    try {
      return Math.round((await stat(this.#socket)).ctimeMs);
    } catch {
      return undefined;
    }
  }
}

/** The file system of a directory; undefined if it cannot be read. */
export async function readDisk(path: string, images: number): Promise<DiskView | undefined> {
  try {
    const { blocks, bavail, bsize } = await statfs(path);
    return { path, total: blocks * bsize, free: bavail * bsize, images };
  } catch {
    return undefined;
  }
}

function processorTimes(): { readonly total: number; readonly idle: number } {
  let [total, idle] = [0, 0];
  for (const { times } of cpus()) {
    total += times.user + times.nice + times.sys + times.irq + times.idle;
    idle += times.idle;
  }
  return { total, idle };
}
