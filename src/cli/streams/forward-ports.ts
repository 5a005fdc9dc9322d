import { createServer, type Server, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { messageOf, wrap } from "../../base/errors.ts";
import type { PortForward } from "../../client/streaming/index.ts";
import type { PortPair } from "./port-pair.ts";

interface Options {
  readonly address: string;
  /** A line for each port that is there. */
  readonly onListening: (line: string) => void;
  /** Why one connection failed; the others go on. */
  readonly onFailure: (line: string) => void;
}

/**
 * Listens on this machine and carries each connection to the pod, both directions for themselves.
 * Disposing of it closes what listens and what is open. Rejects when a port cannot be had.
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
      void carry(socket, session, pair.remote, options);
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

async function carry(
  socket: Socket,
  session: PortForward,
  port: number,
  options: Options,
): Promise<void> {
  socket.on("error", () => undefined);
  try {
    const { data, failure } = await session.connect(port);
    // Each direction ends for itself: a client may have no more to send, and wait for an answer.
    const both = [pipeline(socket, data), pipeline(data, socket)];
    await Promise.allSettled(both);
    const why = await failure;
    if (why !== undefined) options.onFailure(`port ${port}: ${why}`);
  } catch (error) {
    options.onFailure(`port ${port}: ${messageOf(error)}`);
  } finally {
    socket.destroy();
  }
}
