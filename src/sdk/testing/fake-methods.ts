// Methods of a fake server: messages are decoded and encoded, calls are counted, and fail if a test asks for it.
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { RuntimeError } from "../../base/errors.ts";
import type { Call, Method } from "../../wire/grpc/call.ts";

/** What tests see of the calls, and let fail. */
export interface Tested {
  readonly calls: string[];
  readonly failures: Map<string, RuntimeError>;
}

type Unary<In extends DescMessage, Out extends DescMessage> = (
  request: MessageShape<In>,
) => MessageInitShape<Out>;
type Streamed<In extends DescMessage, Out extends DescMessage> = (
  request: MessageShape<In>,
  call: Call,
) => AsyncIterable<MessageInitShape<Out>>;

/** The methods of a service, with the failures that tests ask for. */
export class Methods {
  readonly all = new Map<string, Method>();
  readonly #fake: Tested;

  constructor(fake: Tested) {
    this.#fake = fake;
  }

  unary<In extends DescMessage, Out extends DescMessage>(
    path: string,
    [input, output]: readonly [In, Out],
    handle: Unary<In, Out>,
  ): this {
    this.all.set(path, {
      kind: "unary",
      handle: async (bytes) => {
        this.#begin(path);
        return toBinary(output, create(output, handle(fromBinary(input, bytes))));
      },
    });
    return this;
  }

  stream<In extends DescMessage, Out extends DescMessage>(
    path: string,
    [input, output]: readonly [In, Out],
    handle: Streamed<In, Out>,
  ): this {
    const begin = (): void => this.#begin(path);
    this.all.set(path, {
      kind: "server-stream",
      async *handle(bytes, call) {
        begin();
        call.sendHeaders();
        for await (const each of handle(fromBinary(input, bytes), call)) {
          yield toBinary(output, create(output, each));
        }
      },
    });
    return this;
  }

  #begin(path: string): void {
    const name = path.slice(path.lastIndexOf("/") + 1);
    this.#fake.calls.push(name);
    const failure = this.#fake.failures.get(name);
    this.#fake.failures.delete(name);
    if (failure !== undefined) throw failure;
  }
}
