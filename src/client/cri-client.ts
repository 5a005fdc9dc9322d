// A typed client of a CRI runtime over its unix socket: ours, or any other that speaks
// runtime.v1. It may import the generated code and wire/; commands of the CLI start here.
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
import { ImageService, RuntimeService } from "../gen/runtime/v1/api_pb.ts";
import { type CallOptions, GrpcClient } from "../wire/grpc/client.ts";
import { decodeMessage } from "../wire/protobuf.ts";

export type { CallOptions } from "../wire/grpc/client.ts";

/** A function for each method of a service: a promise of the answer, or an iteration of answers. */
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
      : never;
};

type MethodsOf<Service> = Service extends GenService<infer Methods> ? Methods : never;

/**
 * Every method of both CRI services. Failures are `GrpcStatusError`s; the connection is made at
 * the first call and made again when it was lost.
 */
export class CriClient implements Disposable {
  readonly runtime: ServiceClient<MethodsOf<typeof RuntimeService>>;
  readonly image: ServiceClient<MethodsOf<typeof ImageService>>;
  readonly #grpc: GrpcClient;

  /**
   * @param endpoint `unix:///run/x.sock`, as kubelet and crictl write it, or the absolute path
   * @param options.maxMessageBytes largest answer accepted; 16 MiB, as kubelet's, unless given
   * @throws RuntimeError `invalid-argument` for any other endpoint
   */
  constructor(endpoint: string, options: { readonly maxMessageBytes?: number } = {}) {
    this.#grpc = new GrpcClient({ path: parseEndpoint(endpoint), ...options });
    this.runtime = serviceClient(this.#grpc, RuntimeService);
    this.image = serviceClient(this.#grpc, ImageService);
  }

  /** Ends the connection; calls that are under way fail. */
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
 * @throws RuntimeError `invalid-argument` unless it is `unix://` and an absolute path, or such a
 *   path alone.
 */
export function parseEndpoint(endpoint: string): string {
  const path = endpoint.startsWith("unix://") ? endpoint.slice("unix://".length) : endpoint;
  if (path.startsWith("/")) return path;
  throw new RuntimeError(
    "invalid-argument",
    `parse endpoint: want unix:///path/to/socket or an absolute path, got "${endpoint}"`,
  );
}

function serviceClient<Methods extends GenServiceMethods>(
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
    for await (const answer of grpc.serverStream(path, encoded(request), options)) {
      yield decodeMessage(method.output, answer);
    }
  }

  return method.methodKind === "server_streaming" ? serverStream : unary;
}
