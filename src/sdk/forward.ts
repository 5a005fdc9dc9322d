import {
  type LocalPort,
  openLocalPort,
  openPortForward,
  type PortForward,
} from "../client/streaming/index.ts";
import type { Forward } from "./api/pod.ts";
import type { Connection } from "./connection.ts";
import { invalid } from "./explain.ts";

/** Makes a port of a pod available on a local port. */
export async function forward(
  connection: Connection,
  pod: { readonly id: string; readonly path: string },
  port: number,
  localPort = 0,
): Promise<Forward> {
  const what = `forward port ${port} of pod "${pod.path}"`;
  if (!isPort(port) || (localPort !== 0 && !isPort(localPort))) {
    throw invalid(`${what}: a port must be a number from 1 to 65535`);
  }
  connection.check(what);
  const sessions = new Sessions(() => openSession(connection, pod.id, what));
  // Fails now, and not at the first connection, if the pod cannot be reached.
  await sessions.get();
  let local: LocalPort;
  try {
    local = await openLocalPort({
      session: () => sessions.get(),
      remote: port,
      local: localPort,
      address: "127.0.0.1",
      // The connection that failed is closed, which is what its client sees.
      onFailure: () => undefined,
    });
  } catch (error) {
    await sessions.close();
    throw connection.explain(what, error);
  }
  const close = async (): Promise<void> => {
    connection.closed.removeEventListener("abort", onClosed);
    await local[Symbol.asyncDispose]();
    await sessions.close();
  };
  const onClosed = (): void => void close();
  connection.closed.addEventListener("abort", onClosed, { once: true });
  return {
    port: local.port,
    url: `http://127.0.0.1:${local.port}`,
    [Symbol.asyncDispose]: close,
  };
}

/** Opens a session with a pod, over which any number of connections can be forwarded. */
export async function openSession(
  connection: Connection,
  podSandboxId: string,
  what: string,
): Promise<PortForward> {
  const call = connection.client.runtime.portForward({ podSandboxId }, connection.quick());
  const { url } = await connection.doing(what, call);
  return await connection.doing(what, openPortForward(url));
}

/** The session of a forwarded port: another one when it is lost. */
class Sessions {
  readonly #open: () => Promise<PortForward>;
  #current: Promise<PortForward> | undefined;

  constructor(open: () => Promise<PortForward>) {
    this.#open = open;
  }

  get(): Promise<PortForward> {
    if (this.#current === undefined) {
      const opening = this.#open();
      const forget = (): void => {
        if (this.#current === opening) this.#current = undefined;
      };
      opening.then((session) => session.closed).then(forget, forget);
      this.#current = opening;
    }
    return this.#current;
  }

  async close(): Promise<void> {
    const session = await this.#current?.catch(() => undefined);
    session?.close();
  }
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65_535;
}
