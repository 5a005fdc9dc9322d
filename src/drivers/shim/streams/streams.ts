import { Readable, Writable } from "node:stream";

import { create, type MessageInitShape, type DescMessage, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeError, wrap } from "../../../base/errors.ts";
import { valueWithin } from "../../../base/wait.ts";
import {
  StreamInitSchema,
  Streaming,
} from "../../../gen/containerd/services/streaming/v1/streaming_pb.ts";
import {
  DataSchema,
  WindowUpdateSchema,
} from "../../../gen/containerd/types/transfer/streaming_pb.ts";
import type { FifoReader, FifoWriter } from "../../../linux/stream/index.ts";
import { decodeBounded } from "../../../wire/protobuf.ts";
import type { TtrpcClient, TtrpcStream } from "../../../wire/ttrpc/index.ts";

/** What a shim may send before it is read. Bytes. */
const windowBytes = 64 * 1024;
/** The longest message that is sent. Bytes. */
const chunkBytes = 32 * 1024;
/** How long a shim may take to open a stream. */
const openMs = 10_000;

/** Where a shim serves its streams, as it gets it with the name of a stream. */
export interface StreamServer {
  readonly client: TtrpcClient;
  /** `ttrpc+unix:///path`, or `ttrpc+unix://@name` of an abstract socket. */
  readonly address: string;
}

/** The address of a shim's socket in the URLs of its streams. */
export function streamAddress(socketPath: string): string {
  const path = socketPath.startsWith("\0") ? `@${socketPath.slice(1)}` : socketPath;
  return `ttrpc+unix://${path}`;
}

/** What the shim gets instead of the path of a FIFO: containerd's form for `io_type = "streaming"`. */
export function streamUrl(address: string, name: string): string {
  return `${address}?streaming_id=${name}`;
}

/**
 * Opens a stream of output by its name. It ends when the shim ends it, so letEnd() does nothing.
 * The shim sends no more than 64 KiB ahead of what is read.
 */
export async function openOutputStream(client: TtrpcClient, name: string): Promise<FifoReader> {
  const opened = await open(client, name);
  const stream = Readable.from(output(name, opened), { objectMode: false });
  return endOf(stream, opened);
}

/** Opens a stream of input by its name. The shim gets the end of the input when the stream ends. */
export async function openInputStream(client: TtrpcClient, name: string): Promise<FifoWriter> {
  const opened = await open(client, name);
  const window = new Window();
  void window.follow(opened.messages);
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      const failed = (error: unknown): void => {
        done(wrap(`write stream "${name}"`, error));
      };
      sendAll(opened.stream, window, chunk).then(() => {
        done();
      }, failed);
    },
    final: (done) => {
      opened.stream.closeSend();
      done();
    },
  });
  return endOf(stream, opened);
}

interface Opened {
  readonly stream: TtrpcStream;
  readonly messages: AsyncIterator<Uint8Array>;
  readonly closing: AbortController;
}

async function open(client: TtrpcClient, name: string): Promise<Opened> {
  const closing = new AbortController();
  const method = { service: Streaming.typeName, method: Streaming.method.stream.name };
  const { signal } = closing;
  const stream = client.stream(method, new Uint8Array(), { signal, sends: true });
  const messages = stream[Symbol.asyncIterator]();
  try {
    send(stream, StreamInitSchema, { id: name });
    const ready = messages.next();
    const first = await valueWithin(ready, openMs);
    if (first === undefined) {
      throw new RuntimeError("deadline-exceeded", `it has not answered after ${openMs} ms`);
    }
    if (first.done === true) {
      throw new RuntimeError("unavailable", "it ended the stream");
    }
    return { stream, messages, closing };
  } catch (error) {
    closing.abort(error);
    throw wrap(`open stream "${name}" of a shim`, error);
  }
}

function endOf<Stream extends Readable | Writable>(
  stream: Stream,
  { closing }: Opened,
): { readonly stream: Stream; letEnd(): Promise<void>; close(): void } {
  stream.on("error", () => undefined);
  return {
    stream,
    letEnd: () => Promise.resolve(),
    close: () => {
      stream.destroy();
      closing.abort(new RuntimeError("canceled", "the stream is closed"));
    },
  };
}

async function* output(name: string, { stream, messages }: Opened): AsyncGenerator<Buffer> {
  let window = 0;
  for (;;) {
    if (window < windowBytes) {
      send(stream, WindowUpdateSchema, { update: windowBytes });
      window += windowBytes;
    }
    const next = await messages.next();
    if (next.done === true) return;
    const data = messageIn(next.value, DataSchema)?.data;
    if (data === undefined) {
      throw new RuntimeError("data-loss", `read stream "${name}": the shim sent no data`);
    }
    window -= data.length;
    if (data.length > 0) yield Buffer.from(data.buffer, data.byteOffset, data.length);
  }
}

/** How much the shim takes at the moment. */
class Window {
  #bytes = 0;
  #ended: Error | undefined;
  #wake: (() => void) | undefined;
  /** Reads updates until the shim ends the stream, which fails writes from then on. Never rejects. */
  async follow(messages: AsyncIterator<Uint8Array>): Promise<void> {
    try {
      for (;;) {
        const next = await messages.next();
        if (next.done === true) break;
        const { update = 0 } = messageIn(next.value, WindowUpdateSchema) ?? {};
        this.#bytes = Math.min(this.#bytes + Math.max(0, update), 2 ** 31);
        this.#wake?.();
      }
      this.#ended = new RuntimeError("unavailable", "the shim takes no more input");
    } catch (error) {
      this.#ended = wrap("read its window", error);
    }
    this.#wake?.();
  }

  /** Takes up to `bytes` of the window, as soon as it is open. */
  async take(bytes: number): Promise<number> {
    while (this.#bytes === 0) {
      if (this.#ended !== undefined) throw this.#ended;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#ended !== undefined) throw this.#ended;
    const taken = Math.min(bytes, this.#bytes);
    this.#bytes -= taken;
    return taken;
  }
}

async function sendAll(stream: TtrpcStream, window: Window, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const length = await window.take(Math.min(chunkBytes, chunk.length - at));
    send(stream, DataSchema, { data: chunk.subarray(at, at + length) });
    at += length;
  }
}

function send<Desc extends DescMessage>(
  stream: TtrpcStream,
  schema: Desc,
  init: MessageInitShape<Desc>,
): void {
  const value = toBinary(schema, create(schema, init));
  stream.send(toBinary(AnySchema, create(AnySchema, { typeUrl: schema.typeName, value })));
}

/** The message in an Any; undefined if that has another one. */
function messageIn<Desc extends typeof DataSchema | typeof WindowUpdateSchema>(
  bytes: Uint8Array,
  schema: Desc,
): ReturnType<typeof decodeBounded<Desc>> | undefined {
  const { typeUrl, value } = decodeBounded(AnySchema, bytes);
  // typeurl of containerd writes no host before the name.
  const name = typeUrl.slice(typeUrl.lastIndexOf("/") + 1);
  return name === schema.typeName ? decodeBounded(schema, value) : undefined;
}
