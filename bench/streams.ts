/** What a client does on the streaming addresses of a server: exec, attach and port-forward, timed. */
import assert from "node:assert/strict";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import {
  type ForwardedConnection,
  openPortForward,
  openRemoteCommand,
  type PortForward,
} from "../src/client/streaming/index.ts";
import type { Side } from "./row.ts";

/** How the client speaks to the streaming server. */
export type Transport = "spdy" | "websocket";

const pieceBytes = 64 * 1024;

/** A container of a pod, as the streaming calls name them. */
export interface Target {
  readonly sandboxId: string;
  readonly containerId: string;
}

/** Which streams an exec has, and what goes over them. */
interface ExecOptions {
  readonly transport: Transport;
  readonly cmd: readonly string[];
  /** So many bytes are its stdin, and its end follows; 0: it has none. */
  readonly inputBytes?: number;
}

/** Exec: the RPC, the connection, all of stdout, the exit status. Returns how many bytes stdout had. */
export async function exec(side: Side, target: Target, options: ExecOptions): Promise<number> {
  const { transport, cmd, inputBytes = 0 } = options;
  const streams = { stdin: inputBytes > 0, stdout: true, stderr: false };
  const { containerId } = target;
  const { runtime } = side.server.client;
  const { url } = await runtime.exec({ containerId, cmd: [...cmd], tty: false, ...streams });
  const command = await openRemoteCommand(url, { ...streams, terminal: false, transport });
  try {
    const [end, bytes] = await Promise.all([
      command.end,
      count(command.stdout),
      inputBytes > 0 ? send(command.stdin, inputBytes) : undefined,
    ]);
    assert.deepEqual(end, { exitCode: 0 }, `${side.server.name}: ${cmd.join(" ")}`);
    return bytes;
  } finally {
    command.close();
  }
}

/** Attach to a container that answers what it is sent: from the RPC to the first byte of an answer. */
export async function attach(side: Side, { containerId }: Target): Promise<void> {
  const { runtime } = side.server.client;
  const streams = { stdin: true, stdout: true, stderr: false };
  const { url } = await runtime.attach({ containerId, tty: false, ...streams });
  const command = await openRemoteCommand(url, { ...streams, terminal: false });
  try {
    command.stdin?.write("x");
    await firstByte(command.stdout);
  } finally {
    command.close();
  }
}

/** PortForward: the RPC and the connection. */
export async function forward(side: Side, { sandboxId }: Target): Promise<PortForward> {
  const request = { podSandboxId: sandboxId, port: [] };
  const { url } = await side.server.client.runtime.portForward(request);
  return openPortForward(url);
}

/** Sends a byte to a port that answers what it is sent, and waits for it. */
export async function echo(session: PortForward, port: number): Promise<void> {
  const connection = await session.connect(port);
  connection.data.write("x");
  await firstByte(connection.data).catch((error: unknown) => rethrow(connection, error));
  connection.data.destroy();
}

/**
 * Sends so many bytes to a port; returns how many came back until the pod ended the connection. The
 * client does not end its half: containerd does not forward that, and closes the other half.
 */
export async function exchange(
  session: PortForward,
  port: number,
  inputBytes: number,
): Promise<number> {
  const connection = await session.connect(port);
  const { data } = connection;
  // A refused connection ends without reading what is sent to it: only the answer counts.
  const sending = pipeline(pieces(inputBytes), data, { end: false }).catch(() => undefined);
  const bytes = await count(data).catch((error: unknown) => rethrow(connection, error));
  data.destroy();
  await sending;
  if (bytes === 0) return rethrow(connection, undefined);
  return bytes;
}

async function rethrow(connection: ForwardedConnection, error: unknown): Promise<never> {
  connection.data.destroy();
  throw new Error((await connection.failure) ?? "nothing came back", { cause: error });
}

async function count(stream: Readable | undefined): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream ?? []) bytes += (chunk as Buffer).length;
  return bytes;
}

/** Fails if the stream ends before the first byte. */
function firstByte(stream: Readable | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    stream?.once("data", () => {
      resolve();
    });
    stream?.once("close", () => {
      reject(new Error("the stream ended without a byte"));
    });
  });
}

/** Reads the stream until its end. */
async function send(stream: Writable | undefined, bytes: number): Promise<void> {
  assert.ok(stream !== undefined);
  await pipeline(pieces(bytes), stream);
}

function* pieces(bytes: number): Generator<Buffer> {
  const piece = Buffer.alloc(pieceBytes, "x");
  for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, left);
}
