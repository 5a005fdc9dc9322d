// A GrpcServer on a real unix socket for a test, and a client of another implementation.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { kindOf, messageOf } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/logger.ts";
import type { Method } from "../call.ts";
import { GrpcServer, type GrpcServerOptions } from "../server.ts";
import { type GrpcStatus, grpcCodeOfKind } from "../status.ts";

/** The message limit of CRI clients with grpc-go. */
export const testMessageLimit = 16 * 1024 * 1024;

/** A server that serves `path` until it is disposed of. */
export interface Serving extends AsyncDisposable {
  readonly server: GrpcServer;
  readonly path: string;
}

/** A directory that is removed with its content. */
export async function scratchDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "davit-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Serves `methods`, named without their service, as `/test.Echo/<name>`. */
export async function serve(
  methods: Readonly<Record<string, Method>>,
  options: Partial<GrpcServerOptions> = {},
): Promise<Serving> {
  const directory = await scratchDirectory();
  const server = new GrpcServer({
    methods: new Map(Object.entries(methods).map(([name, method]) => [echoPath(name), method])),
    maxMessageBytes: testMessageLimit,
    toStatus: statusOfKind,
    logger: silentLogger,
    ...options,
  });
  const path = join(directory.path, "s.sock");
  await server.listen(path, { mode: 0o660 });
  return {
    server,
    path,
    async [Symbol.asyncDispose]() {
      await server.stop(0);
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** The path of a method given to `serve()`. */
export function echoPath(name: string): string {
  return `/test.Echo/${name}`;
}

/** A handler that returns its request. */
export const echo: Method = { kind: "unary", handle: (request) => Promise.resolve(request) };

/** A client of grpc-js, with calls of bytes. */
export class ForeignClient implements Disposable {
  readonly #client: grpc.Client;

  constructor(path: string, options: grpc.ClientOptions = {}) {
    this.#client = new grpc.Client(`unix://${path}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
      ...options,
    });
  }

  unary(name: string, request: Uint8Array, options: grpc.CallOptions = {}): ForeignCall {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const call = this.#client.makeUnaryRequest(
      echoPath(name),
      asBuffer,
      asIs,
      request,
      new grpc.Metadata(),
      options,
      (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer ?? Buffer.alloc(0));
      },
    );
    return { answer: promise, cancel: () => call.cancel() };
  }

  stream(name: string, request: Uint8Array): grpc.ClientReadableStream<Buffer> {
    return this.#client.makeServerStreamRequest(echoPath(name), asBuffer, asIs, request);
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** A running call. */
export interface ForeignCall {
  readonly answer: Promise<Buffer>;
  readonly cancel: () => void;
}

function statusOfKind(error: unknown): GrpcStatus {
  return { code: grpcCodeOfKind[kindOf(error)], message: messageOf(error) };
}

function asBuffer(message: Uint8Array): Buffer {
  return Buffer.from(message.buffer, message.byteOffset, message.byteLength);
}

function asIs(bytes: Buffer): Buffer {
  return bytes;
}
