/**
 * An attack in a process of its own: peers that connect, may send the start of a protocol, and are silent then. A
 * peer that is disconnected connects again. Run as `node silent-peers.ts TARGET COUNT HEX`.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, type NetConnectOpts } from "node:net";

/** Peers that stay until disposal. */
export class SilentPeers implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /** Resolves when all of them have connected, though the server may have closed some again. */
  static async connect(
    target: NetConnectOpts,
    count: number,
    first?: Buffer,
  ): Promise<SilentPeers> {
    const args = [JSON.stringify(target), String(count), first?.toString("hex") ?? ""];
    const child = fork(import.meta.filename, args, { stdio: "inherit" });
    const peers = new SilentPeers(child);
    const [message] = (await Promise.race([
      once(child, "message"),
      once(child, "exit"),
    ])) as unknown[];
    if (message !== "connected") throw new Error(`connect ${count} peers: they ended early`);
    return peers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }
}

/** Each batch waits for its connections: the kernel queues some hundred, and drops the others. */
const batch = 100;

async function run(target: NetConnectOpts, count: number, first: Buffer): Promise<void> {
  const all = Promise.withResolvers<undefined>();
  for (let connected = 0; connected < count; connected += batch) {
    await Promise.all(Array.from({ length: batch }, () => join(target, first, all.promise)));
  }
  process.send?.("connected");
  all.resolve(undefined);
}

let pauses = 0;

/** Evenly from 0 to 2 s. */
function pauseMs(): number {
  pauses += 1;
  return (pauses % 200) * 10;
}

/** Resolves when the peer is connected. When it is cut off it comes back, once all are there. */
function join(target: NetConnectOpts, first: Buffer, all: Promise<undefined>): Promise<void> {
  return new Promise((resolve) => {
    let connected = false;
    const socket = connect(target);
    socket.once("connect", () => {
      connected = true;
      if (first.length > 0) socket.write(first);
      resolve();
    });
    socket.on("error", () => undefined);
    socket.resume();
    socket.once("close", () => {
      // Not all at once: a full queue refuses connections, whoever they are of.
      const again = (): void =>
        void setTimeout(() => void join(target, first, all).then(resolve), pauseMs());
      if (connected) void all.then(again);
      else again();
    });
  });
}

if (import.meta.main) {
  const [target = "", count = "", first = ""] = process.argv.slice(2);
  process.on("disconnect", () => process.exit(0));
  void run(JSON.parse(target) as NetConnectOpts, Number(count), Buffer.from(first, "hex"));
}
