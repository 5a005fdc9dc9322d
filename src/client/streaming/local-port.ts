import { createServer, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { messageOf, wrap } from "../../base/errors.ts";
import type { PortForward } from "./port-forward.ts";

/** A local port whose connections are forwarded. Disposing closes it with its connections. */
export interface LocalPort extends AsyncDisposable {
  readonly port: number;
}

/** What is forwarded. */
export interface LocalPortOptions {
  /** Opens the session for a connection. It may be the same one for all. */
  readonly session: () => Promise<PortForward>;
  /** The port of the pod. */
  readonly remote: number;
  /** The local address and port; port 0 for any free one. */
  readonly address: string;
  readonly local: number;
  /** Called with the error of a connection; other connections are not affected. */
  readonly onFailure: (line: string) => void;
}

/** Listens on a local port and forwards each connection to the pod. Rejects when the port is not available. */
export async function openLocalPort(options: LocalPortOptions): Promise<LocalPort> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    void forward(socket, options);
  });
  const port = await listen(server, options.local, options.address);
  return {
    port,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function listen(server: Server, port: number, address: string): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  server.once("error", (cause) => {
    reject(wrap(`listen on "${address}" port ${port}`, cause));
  });
  server.listen(port, address, () => {
    resolve(undefined);
  });
  await promise;
  const bound = server.address();
  return typeof bound === "object" && bound !== null ? bound.port : port;
}

async function forward(
  socket: Socket,
  { session, remote, onFailure }: LocalPortOptions,
): Promise<void> {
  socket.on("error", () => undefined);
  try {
    const { data, failure } = await (await session()).connect(remote);
    // The directions end independently: a client may close its side and wait for the response.
    const both = [pipeline(socket, data), pipeline(data, socket)];
    await Promise.allSettled(both);
    const reason = await failure;
    if (reason !== undefined) onFailure(`forward to port ${remote}: ${reason}`);
  } catch (error) {
    onFailure(`forward to port ${remote}: ${messageOf(error)}`);
  } finally {
    socket.destroy();
  }
}
