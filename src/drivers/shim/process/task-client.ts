import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { TtrpcCallOptions, TtrpcClient } from "../../../wire/ttrpc/index.ts";
import { namespace } from "./shim-binary.ts";

/** How long a shim may take for a call without a deadline of its own. Milliseconds. */
export const callMs = 10_000;

const metadata = { "containerd-namespace-ttrpc": namespace };

/**
 * Calls of a shim's task service, by the methods of containerd.task.v3.Task. Version 2 has the same
 * messages under another name. The default timeout of a call is `callMs`.
 */
export class TaskClient {
  readonly version: 2 | 3;
  readonly #client: TtrpcClient;

  constructor(client: TtrpcClient, version: 2 | 3) {
    this.#client = client;
    this.version = version;
  }

  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: TtrpcCallOptions = {},
  ): Promise<MessageShape<O>> {
    const service = `containerd.task.v${this.version}.Task`;
    return this.#client.call(method, request, { timeoutMs: callMs, metadata, service, ...options });
  }

  /** A call without a time limit, for Wait. */
  wait<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal,
  ): Promise<MessageShape<O>> {
    const service = `containerd.task.v${this.version}.Task`;
    return this.#client.call(method, request, { metadata, service, signal });
  }
}
