import { mkdir } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { peerOf } from "../../linux/stream/index.ts";
import { listenUnix, type UnixListener } from "../../wire/unix-socket.ts";

/** The socket of plugins that others start. Only root can connect: a plugin has root's power over containers. */
export class PluginListener {
  readonly #listener: UnixListener;

  private constructor(listener: UnixListener) {
    this.#listener = listener;
  }

  /** Listens; a stale socket is replaced. `failed-precondition` when another process serves the path. */
  static async open(
    path: string,
    { accept }: { readonly accept: (socket: Socket, pid: number) => void },
  ): Promise<PluginListener> {
    const server = createServer((socket) => {
      // The error is the end of the connection, too.
      socket.on("error", () => undefined);
      accept(socket, pidOf(socket));
    });
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return new PluginListener(await listenUnix(server, path, { mode: 0o600 }));
  }

  /** Stops to accept and removes the socket; settles when all connections are closed. */
  async close(): Promise<void> {
    await this.#listener.close();
  }
}

/** The process at the other end; 0 where it is not known. */
function pidOf(socket: Socket): number {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: number } };
  return handle?.fd === undefined ? 0 : (peerOf(handle.fd)?.pid ?? 0);
}
