/** CRI calls through grpc-js: an independent client, since davit's own client can share bugs with its server. */
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, type ClientOptions, credentials, Metadata } from "@grpc/grpc-js";

/** A method of `RuntimeService.method` or `ImageService.method` with one answer. */
type Unary<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly methodKind: "unary";
  readonly input: I;
  readonly output: O;
};
type ServerStreaming<I extends DescMessage, O extends DescMessage> = DescMethod & {
  readonly methodKind: "server_streaming";
  readonly input: I;
  readonly output: O;
};

export interface CallOptions {
  /** Sent as grpc-timeout; the call fails with code 4 after it. */
  readonly timeoutMs?: number;
  /** Resets the call's stream. */
  readonly signal?: AbortSignal;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** A connection of grpc-js to one unix socket. Calls fail with grpc-js's ServiceError (`code`). */
export class GrpcJsClient implements Disposable {
  readonly #client: Client;

  /** @param options grpc-js channel options: message limits, keep-alive. */
  constructor(socket: string, options: ClientOptions = {}) {
    // Calls of one test never use another's connection.
    const own = { "grpc.use_local_subchannel_pool": 1, ...options };
    this.#client = new Client(`unix://${socket}`, credentials.createInsecure(), own);
  }

  /** Calls a unary method, such as `RuntimeService.method.version`. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: Unary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        pathOf(method),
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        create(method.input, request),
        metadataOf(options),
        callOptions(options),
        (error, answer) => {
          if (error !== null) reject(error);
          else if (answer === undefined) reject(new Error(`call ${method.name}: got no answer`));
          else resolve(answer);
        },
      );
      options.signal?.addEventListener("abort", () => call.cancel(), { once: true });
    });
  }

  /** Calls a streaming method; leaving the loop cancels the call. */
  async *serverStream<I extends DescMessage, O extends DescMessage>(
    method: ServerStreaming<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): AsyncIterable<MessageShape<O>> {
    const call = this.#client.makeServerStreamRequest(
      pathOf(method),
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      create(method.input, request),
      metadataOf(options),
      callOptions(options),
    );
    options.signal?.addEventListener("abort", () => call.cancel(), { once: true });
    try {
      for await (const answer of call) yield answer as MessageShape<O>;
    } finally {
      call.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function metadataOf({ metadata = {} }: CallOptions): Metadata {
  const sent = new Metadata();
  for (const [name, value] of Object.entries(metadata)) sent.set(name, value);
  return sent;
}

function callOptions({ timeoutMs }: CallOptions): { deadline?: number } {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}
