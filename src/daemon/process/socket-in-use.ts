import { connect } from "node:net";
import { create, toBinary } from "@bufbuild/protobuf";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { VersionRequestSchema, VersionResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import { peerOf, type SocketPeer } from "../../linux/stream/index.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { decodeMessage } from "../../wire/protobuf.ts";

const timeoutMs = 2_000;

/**
 * The error of a daemon of `version` that cannot listen at `path`: with the process that serves the socket and
 * what that answers to Version, where it does. `cause` unchanged if nobody accepts connections there.
 */
export async function socketInUse(path: string, version: string, cause: unknown): Promise<unknown> {
  const peer = await serverAt(path);
  if (peer === undefined) return cause;
  const process = peer.pid === 0 ? "" : `, process ${peer.pid}${peer.name && ` (${peer.name})`}`;
  return new RuntimeError(
    "failed-precondition",
    `start davit ${version}: ${await nameAt(path)}${process} serves the socket: ${messageOf(cause)}`,
    { cause },
  );
}

async function nameAt(path: string): Promise<string> {
  try {
    using client = new GrpcClient({ path, maxMessageBytes: 64 * 1024 });
    const request = toBinary(VersionRequestSchema, create(VersionRequestSchema, {}));
    const method = "/runtime.v1.RuntimeService/Version";
    const answer = await client.unary(method, request, { timeoutMs });
    const { runtimeName, runtimeVersion } = decodeMessage(VersionResponseSchema, answer);
    // What the other server says is not ours: only what a version can be is repeated.
    const words = [runtimeName, runtimeVersion].filter((word) => /^[\w.+~-]{1,64}$/.test(word));
    return words.length === 2 ? words.join(" ") : "another CRI server";
  } catch {
    return "another server";
  }
}

/** The process that listens at the socket; undefined if none accepts a connection. */
function serverAt(path: string): Promise<SocketPeer | undefined> {
  const { promise, resolve } = Promise.withResolvers<SocketPeer | undefined>();
  const socket = connect(path);
  socket.setTimeout(timeoutMs, () => socket.destroy());
  socket.once("connect", () => {
    // Node.js has no other way to the descriptor of a socket.
    const { _handle: handle } = socket as { _handle?: { readonly fd?: number } | null };
    resolve(peerOf(handle?.fd ?? -1) ?? { pid: 0, uid: 0, name: "" });
    socket.destroy();
  });
  socket.on("error", () => socket.destroy());
  socket.once("close", () => resolve(undefined));
  return promise;
}
