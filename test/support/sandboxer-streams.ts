/**
 * The streams that the tests' sandboxer serves (containerd.services.streaming.v1): each is a fifo of the runc shim below
 * it. A stream that its client leaves continues with the next client of its name.
 */
import { EventEmitter, once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import {
  StreamInitSchema,
  Streaming,
} from "../../src/gen/containerd/services/streaming/v1/streaming_pb.ts";
import {
  DataSchema,
  WindowUpdateSchema,
} from "../../src/gen/containerd/types/transfer/streaming_pb.ts";
import {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../src/linux/stream/index.ts";
import type { TtrpcHandler, TtrpcStream } from "../../src/wire/ttrpc/index.ts";

const windowBytes = 64 * 1024;

type Names = Readonly<Record<"stdin" | "stdout" | "stderr", string>>;

export class TestStreams {
  readonly #directory: string;
  readonly #outputs = new Map<string, Output>();
  readonly #writers = new Map<string, FifoWriter>();
  readonly #open = new Set<string>();

  /** `script`: a file of the sandboxer, beside which the fifos are. */
  constructor(script: string) {
    this.#directory = path.join(path.dirname(script), "streams");
    mkdirSync(this.#directory, { recursive: true });
  }

  /** The fifos for the URLs of a request; whatever is not a URL stays. */
  fifosFor({ stdin, stdout, stderr }: Names): Names {
    const fifo = (url: string): string => {
      const name = /[?]streaming_id=([\w-]+)$/.exec(url)?.[1];
      return name === undefined ? url : this.#fifo(name);
    };
    return { stdin: fifo(stdin), stdout: fifo(stdout), stderr: fifo(stderr) };
  }

  /** The shim has opened the fifos of a container or command: they end with its last process, or client, from now on. */
  letEnd(id: string): void {
    this.#open.add(id);
    const stdin = this.#writers.get(`${id}-stdin`);
    if (stdin?.stream.writableEnded === true) void stdin.letEnd();
    for (const name of ["stdout", "stderr"]) this.#outputs.get(`${id}-${name}`)?.reader.letEnd();
  }

  method(): readonly [string, TtrpcHandler] {
    const name = `${Streaming.typeName}/${Streaming.method.stream.name}`;
    const handle = async (_request: Uint8Array, stream: TtrpcStream): Promise<void> => {
      const messages = stream[Symbol.asyncIterator]();
      const first = await messages.next();
      if (first.done === true) return;
      const { id } = fromBinary(StreamInitSchema, fromBinary(AnySchema, first.value).value);
      send(stream, anyOf("google.protobuf.Empty", new Uint8Array()));
      if (id.endsWith("-stdin")) await this.#input(id, stream, messages);
      else await this.#output(id, stream, messages);
    };
    return [name, { kind: "stream", handle }];
  }

  async #input(
    id: string,
    stream: TtrpcStream,
    messages: AsyncIterator<Uint8Array>,
  ): Promise<void> {
    const writer = this.#writers.get(id) ?? openFifoWriter(this.#fifo(id));
    this.#writers.set(id, writer);
    for (let window = 0; ; ) {
      if (window < windowBytes) {
        send(stream, anyOf(WindowUpdateSchema.typeName, updateOf(windowBytes)));
        window += windowBytes;
      }
      const next = await messages.next();
      if (next.done === true) break;
      const { data } = fromBinary(DataSchema, fromBinary(AnySchema, next.value).value);
      window -= data.length;
      if (!writer.stream.write(data)) await once(writer.stream, "drain");
    }
    writer.stream.end();
    // Before, what was written would be lost: fifo(7).
    if (this.#open.has(id.slice(0, -"-stdin".length))) void writer.letEnd();
  }

  async #output(
    id: string,
    stream: TtrpcStream,
    messages: AsyncIterator<Uint8Array>,
  ): Promise<void> {
    const output = this.#outputs.get(id) ?? new Output(openFifoReader(this.#fifo(id)));
    this.#outputs.set(id, output);
    const client = { window: 0, left: false };
    void followWindow(client, messages, output);
    while (!client.left && !output.ended) {
      const chunk = output.take(Math.min(client.window, 32 * 1024));
      if (chunk === undefined) {
        await once(output.changes, "change");
        continue;
      }
      client.window -= chunk.length;
      const data = toBinary(DataSchema, create(DataSchema, { data: chunk }));
      send(stream, anyOf(DataSchema.typeName, data));
    }
  }

  #fifo(name: string): string {
    const fifo = path.join(this.#directory, name);
    if (!existsSync(fifo)) makeFifo(fifo);
    return fifo;
  }
}

/** What a fifo holds, a chunk at a time. */
class Output {
  readonly changes = new EventEmitter();
  readonly reader: FifoReader;
  #pending: Buffer = Buffer.alloc(0);
  #over = false;

  constructor(reader: FifoReader) {
    this.reader = reader;
    reader.stream.on("data", (chunk: Buffer) => {
      this.#pending = chunk;
      reader.stream.pause();
      this.changes.emit("change");
    });
    reader.stream.once("close", () => {
      this.#over = true;
      this.changes.emit("change");
    });
  }

  get ended(): boolean {
    return this.#over && this.#pending.length === 0;
  }

  take(bytes: number): Buffer | undefined {
    if (bytes === 0 || this.#pending.length === 0) return undefined;
    const taken = this.#pending.subarray(0, bytes);
    this.#pending = this.#pending.subarray(bytes);
    if (this.#pending.length === 0) this.reader.stream.resume();
    return taken;
  }
}

async function followWindow(
  client: { window: number; left: boolean },
  messages: AsyncIterator<Uint8Array>,
  { changes }: Output,
): Promise<void> {
  try {
    for (;;) {
      const next = await messages.next();
      if (next.done === true) break;
      const { value } = fromBinary(AnySchema, next.value);
      client.window += fromBinary(WindowUpdateSchema, value).update;
      changes.emit("change");
    }
  } catch {
    // The daemon ended.
  }
  client.left = true;
  changes.emit("change");
}

function updateOf(update: number): Uint8Array {
  return toBinary(WindowUpdateSchema, create(WindowUpdateSchema, { update }));
}

function anyOf(typeUrl: string, value: Uint8Array): Any {
  return create(AnySchema, { typeUrl, value });
}

function send(stream: TtrpcStream, any: Any): void {
  stream.send(toBinary(AnySchema, any));
}
