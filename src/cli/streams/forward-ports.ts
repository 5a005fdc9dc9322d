import { openLocalPort, type PortForward } from "../../client/streaming/index.ts";
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
  { address, onListening, onFailure }: Options,
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  for (const { local, remote } of pairs) {
    const open = { session: () => Promise.resolve(session), remote, local, address, onFailure };
    const { port } = stack.use(await openLocalPort(open));
    onListening(`Forwarding from ${address}:${port} to ${remote}`);
  }
  return stack.move();
}
