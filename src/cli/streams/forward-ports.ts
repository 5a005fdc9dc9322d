import { createServer, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { messageOf, wrap } from "../../base/errors.ts";
import type { PortForward } from "../../client/streaming/index.ts";
import type { PortPair } from "./port-pair.ts";

interface Options {
  readonly address: string;
  /** Called with a message for each port that is open. */
  readonly onListening: (line: string) => void;
  /** Called with the error of a connection; other connections are not affected. */
  readonly onFailure: (line: string) => void;
}

/**
 * Listens on local ports and forwards each connection to the pod. Disposing closes the listeners and all
 * connections. Rejects when a port is not available.
 */
export async function forwardPorts(
  session: PortForward,
  pairs: readonly PortPair[],
  options: Options,
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  for (const pair of pairs) {
    const sockets = new Set<Socket>();
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      socket.on("close", () => sockets.delete(socket));
      void forward(socket, session, pair.remote, options);
    });
    const port = await listen(server, pair.local, options.address);
    stack.defer(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => {
            resolve();
          });
          for (const socket of sockets) socket.destroy();
        }),
    );
    options.onListening(`Forwarding from ${options.address}:${port} to ${pair.remote}`);
  }
  return stack.move();
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
  session: PortForward,
  port: number,
  options: Options,
): Promise<void> {
  socket.on("error", () => undefined);
  try {
    const { data, failure } = await session.connect(port);
    // The directions end independently: a client may close its side and wait for the response.
    const both = [pipeline(socket, data), pipeline(data, socket)];
    await Promise.allSettled(both);
    const reason = await failure;
    if (reason !== undefined) options.onFailure(`forward to port ${port}: ${reason}`);
  } catch (error) {
    options.onFailure(`forward to port ${port}: ${messageOf(error)}`);
  } finally {
    socket.destroy();
  }
}
