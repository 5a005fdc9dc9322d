// The client's side of port-forward with any CRI server. Start at openPortForward.
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { RuntimeError } from "../../base/errors.ts";
import { SpdySession } from "../../wire/spdy/session.ts";
import { openTunnel } from "../../wire/websocket/tunnel.ts";
import { dial, dialWebSocket } from "./dial.ts";

/** Options of the connection. */
export interface PortForwardOptions {
  /** SPDY if not given; "websocket" tunnels SPDY through a WebSocket. */
  readonly transport?: "spdy" | "websocket";
  /** Cancels connecting, and later closes the connection with all forwarded ones. */
  readonly signal?: AbortSignal;
}

/** One connection to a port of the pod. */
export interface ForwardedConnection {
  /** The directions end separately. */
  readonly data: Duplex;
  /** Why the pod refused the connection; undefined after a connection has ended. Never rejects. */
  readonly failure: Promise<string | undefined>;
}

/** A session with any number of forwarded connections. */
export interface PortForward {
  /** Connects to a port of the pod. A refusal by the pod is a `failure` of the result, not an error. */
  connect(port: number): Promise<ForwardedConnection>;
  /** Resolves when the session is closed. */
  readonly closed: Promise<Error | undefined>;
  close(): void;
}

const protocol = "portforward.k8s.io";

/** Connects to an address of the PortForward RPC. */
export async function openPortForward(
  url: string,
  options: PortForwardOptions = {},
): Promise<PortForward> {
  const transport = await open(url, options);
  const session = new SpdySession({ transport, role: "client" });
  options.signal?.addEventListener("abort", () => session.destroy(), { once: true });
  let requests = 0;
  return {
    connect: async (port) => {
      const shared = [
        ["port", String(port)],
        ["requestid", String(requests++)],
      ] as const;
      // In the order of kubectl, which old servers require.
      const error = await session.openStream(new Map([["streamtype", "error"], ...shared]));
      error.end();
      const failure = text(error).then(
        (message) => (message === "" ? undefined : message),
        () => undefined,
      );
      try {
        const data = await session.openStream(new Map([["streamtype", "data"], ...shared]));
        return { data, failure };
      } catch (cause) {
        error.destroy();
        throw cause;
      }
    },
    closed: session.closed,
    close: () => session.destroy(),
  };
}

async function open(url: string, options: PortForwardOptions): Promise<Duplex> {
  if (options.transport !== "websocket") {
    const headers = { upgrade: "SPDY/3.1", "x-stream-protocol-version": protocol };
    return (await dial(url, { method: "POST", headers, signal: options.signal })).transport;
  }
  const wanted = `SPDY/3.1+${protocol}`;
  const dialed = await dialWebSocket(url, [wanted], options.signal);
  if (dialed.protocol !== wanted) {
    dialed.transport.destroy();
    throw new RuntimeError("unimplemented", `connect to "${url}": the server does not tunnel SPDY`);
  }
  return openTunnel(dialed.transport, "client");
}
