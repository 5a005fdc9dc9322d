// Calls of a GrpcServer without a gRPC client: the test chooses the headers and the bytes.
import { type ClientHttp2Session, connect } from "node:http2";
import { connect as connectSocket } from "node:net";

import type { Call, Method } from "../call.ts";
import { frame, MessageReader } from "../codec.ts";
import { echoPath, testMessageLimit } from "./serving.ts";

export const oneByte = Buffer.from([7]);

/** The response to a raw request. */
export interface RawAnswer {
  readonly headers: Record<string, unknown>;
  readonly trailers: Record<string, unknown>;
  readonly messages: Buffer[];
  readonly rstCode: number;
}

/** An HTTP/2 session of Node with the socket at `path`; destroyed when it is disposed of. */
export function rawSession(path: string): ClientHttp2Session & Disposable {
  const session = connect("http://localhost", { createConnection: () => connectSocket(path) });
  session.on("error", () => undefined);
  return Object.assign(session, { [Symbol.dispose]: () => session.destroy() });
}

/** A raw request; the body is sent unchanged. */
export async function rawCall(
  session: ClientHttp2Session,
  headers: Readonly<Record<string, string | readonly string[]>>,
  body: Buffer = frame(oneByte),
): Promise<RawAnswer> {
  const stream = session.request({
    ":method": "POST",
    ":path": echoPath("Echo"),
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  let got: Record<string, unknown> = {};
  let trailers: Record<string, unknown> = {};
  const chunks: Buffer[] = [];
  stream.on("response", (response) => (got = response));
  stream.on("trailers", (found: Record<string, unknown>) => (trailers = found));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("error", () => undefined);
  stream.end(body);
  await new Promise((resolve) => stream.on("close", resolve));
  const messages = new MessageReader(testMessageLimit).push(Buffer.concat(chunks));
  return { headers: got, trailers, messages, rstCode: stream.rstCode };
}

/** A handler that never responds, and a promise of its call. */
export function stuck(): { readonly method: Method; readonly called: Promise<Call> } {
  const { promise, resolve } = Promise.withResolvers<Call>();
  return {
    called: promise,
    method: {
      kind: "unary",
      handle: (_, call) => {
        resolve(call);
        return new Promise<never>(() => undefined);
      },
    },
  };
}

/** The reason of the call's signal, once it is aborted. */
export function aborted(call: Call): Promise<unknown> {
  if (call.signal.aborted) return Promise.resolve(call.signal.reason);
  return new Promise((resolve) => {
    call.signal.addEventListener("abort", () => resolve(call.signal.reason));
  });
}
