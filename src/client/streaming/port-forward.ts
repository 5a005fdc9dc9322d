// The client's side of port-forward, to any CRI server. Start at openPortForward.
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { RuntimeError } from "../../base/errors.ts";
import { SpdySession } from "../../wire/spdy/session.ts";
import { openTunnel } from "../../wire/websocket/tunnel.ts";
import { dial, dialWebSocket } from "./dial.ts";

/** How to connect. */
export interface PortForwardOptions {
  /** SPDY unless this says otherwise; by "websocket" it is tunnelled. */
  readonly transport?: "spdy" | "websocket";
  /** Ends the connecting, and later the connection with all that it carries. */
  readonly signal?: AbortSignal;
}

/** One connection to a port of the pod. */
export interface ForwardedConnection {
  /** Each direction ends for itself. */
  readonly data: Duplex;
  /** Why there is no connection; undefined when there was one and it has ended. Never rejects. */
  readonly failure: Promise<string | undefined>;
}

/** A session that carries any number of connections. */
export interface PortForward {
  /** Connects to a port of the pod. A refusal by the pod comes as `failure`, not as an error. */
  connect(port: number): Promise<ForwardedConnection>;
  /** Resolves when the session is gone. */
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
      // In the order of kubectl: old servers count on it.
      const error = await session.openStream(new Map([["streamtype", "error"], ...shared]));
      error.end();
      const failure = text(error).then(
        (said) => (said === "" ? undefined : said),
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
