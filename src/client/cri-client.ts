// A typed client of any CRI runtime (runtime.v1) over its unix socket.
import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { RuntimeError } from "../base/errors.ts";
import { Checkpoints } from "../gen/davit/v1/checkpoints_pb.ts";
import { Containers } from "../gen/davit/v1/containers_pb.ts";
import { Daemon } from "../gen/davit/v1/daemon_pb.ts";
import { Images } from "../gen/davit/v1/images_pb.ts";
import { Leases } from "../gen/davit/v1/leases_pb.ts";
import { Pulls } from "../gen/davit/v1/pull_pb.ts";
import { ImageService, RuntimeService } from "../gen/runtime/v1/api_pb.ts";
import { type CallOptions, GrpcClient } from "../wire/grpc/client.ts";
import { decodeMessage } from "../wire/protobuf.ts";

export type { CallOptions } from "../wire/grpc/client.ts";

/**
 * A function for each method of a service, which returns a promise of the response or an async iterable of responses.
 * A method with a stream of requests takes an async iterable of them.
 */
export type ServiceClient<Methods extends GenServiceMethods> = {
  readonly [Name in keyof Methods]: Methods[Name] extends {
    readonly methodKind: "unary";
    readonly input: infer Input extends DescMessage;
    readonly output: infer Output extends DescMessage;
  }
    ? (request: MessageInitShape<Input>, options?: CallOptions) => Promise<MessageShape<Output>>
    : Methods[Name] extends {
          readonly methodKind: "server_streaming";
          readonly input: infer Input extends DescMessage;
          readonly output: infer Output extends DescMessage;
        }
      ? (
          request: MessageInitShape<Input>,
          options?: CallOptions,
        ) => AsyncIterable<MessageShape<Output>>
      : Methods[Name] extends {
            readonly methodKind: "bidi_streaming";
            readonly input: infer Input extends DescMessage;
            readonly output: infer Output extends DescMessage;
          }
        ? (
            requests: AsyncIterable<MessageInitShape<Input>>,
            options?: CallOptions,
          ) => AsyncIterable<MessageShape<Output>>
        : never;
};

/** The methods of a generated service. */
export type MethodsOf<Service> = Service extends GenService<infer Methods> ? Methods : never;

/**
 * All methods of both CRI services, and of davit's own, which other servers do not have. Failures are
 * `GrpcStatusError`s. It connects at the first call, and again after the connection was lost.
 */
export class CriClient implements Disposable {
  readonly runtime: ServiceClient<MethodsOf<typeof RuntimeService>>;
  readonly image: ServiceClient<MethodsOf<typeof ImageService>>;
  readonly davit: ServiceClient<MethodsOf<typeof Images>>;
  readonly pulls: ServiceClient<MethodsOf<typeof Pulls>>;
  readonly daemon: ServiceClient<MethodsOf<typeof Daemon>>;
  readonly containers: ServiceClient<MethodsOf<typeof Containers>>;
  readonly leases: ServiceClient<MethodsOf<typeof Leases>>;
  readonly checkpoints: ServiceClient<MethodsOf<typeof Checkpoints>>;
  readonly #grpc: GrpcClient;

  /**
   * @param endpoint `unix:///run/x.sock`, as kubelet and crictl write it, or the absolute path
   * @param options.maxMessageBytes largest response; 16 MiB, like kubelet, if not given
   * @param options.keepsProcess false: the process may end while no call is running; true if not given
   * @throws RuntimeError `invalid-argument` for any other endpoint
   */
  constructor(
    endpoint: string,
    options: { readonly maxMessageBytes?: number; readonly keepsProcess?: boolean } = {},
  ) {
    this.#grpc = new GrpcClient({ path: parseEndpoint(endpoint), ...options });
    this.runtime = serviceClient(this.#grpc, RuntimeService);
    this.image = serviceClient(this.#grpc, ImageService);
    this.davit = serviceClient(this.#grpc, Images);
    this.pulls = serviceClient(this.#grpc, Pulls);
    this.daemon = serviceClient(this.#grpc, Daemon);
    this.containers = serviceClient(this.#grpc, Containers);
    this.leases = serviceClient(this.#grpc, Leases);
    this.checkpoints = serviceClient(this.#grpc, Checkpoints);
  }

  /** Closes the connection; running calls fail. */
  close(): void {
    this.#grpc.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * The socket path of an endpoint.
 *
 * @throws RuntimeError `invalid-argument` unless it is an absolute path, with or without `unix://`.
 */
export function parseEndpoint(endpoint: string): string {
  const path = endpoint.startsWith("unix://") ? endpoint.slice("unix://".length) : endpoint;
  if (path.startsWith("/")) return path;
  throw new RuntimeError(
    "invalid-argument",
    `parse endpoint: it must be unix:///path/to/socket or an absolute path; it is "${endpoint}"`,
  );
}

/** A client of one service. */
export function serviceClient<Methods extends GenServiceMethods>(
  grpc: GrpcClient,
  service: GenService<Methods>,
): ServiceClient<Methods> {
  const methods = service.methods.map((method) => [method.localName, methodClient(grpc, method)]);
  // The descriptor names each method and its kind; the compiler cannot follow a loop over it.
  return Object.fromEntries(methods) as ServiceClient<Methods>;
}

function methodClient(grpc: GrpcClient, method: DescMethod) {
  const path = `/${method.parent.typeName}/${method.name}`;
  const encoded = (request: MessageInitShape<DescMessage>): Uint8Array =>
    toBinary(method.input, create(method.input, request));

  async function unary(request: MessageInitShape<DescMessage>, options?: CallOptions) {
    return decodeMessage(method.output, await grpc.unary(path, encoded(request), options));
  }

  async function* serverStream(request: MessageInitShape<DescMessage>, options?: CallOptions) {
    for await (const response of grpc.serverStream(path, encoded(request), options)) {
      yield decodeMessage(method.output, response);
    }
  }

  async function* stream(
    requests: AsyncIterable<MessageInitShape<DescMessage>>,
    options?: CallOptions,
  ) {
    async function* all(): AsyncGenerator<Uint8Array> {
      for await (const request of requests) yield encoded(request);
    }
    for await (const response of grpc.stream(path, all(), options)) {
      yield decodeMessage(method.output, response);
    }
  }

  if (method.methodKind === "bidi_streaming") return stream;
  return method.methodKind === "server_streaming" ? serverStream : unary;
}
