/**
 * Many calls of one unary gRPC method over one connection, with as little work for the client as possible: it
 * builds the frames of the request once, and reads only the frame headers of an answer (RFC 9113, section 4.1). With
 * an ordinary client, the rate would depend on the client more than on the server.
 */
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { percentile } from "./statistics.ts";

/** The method, the number of callers and the duration. */
interface LoadOptions {
  readonly socket: string;
  /** `/runtime.v1.RuntimeService/Version` */
  readonly method: string;
  /** The encoded request. */
  readonly request: Uint8Array;
  /** Each calls again as soon as it has its answer. */
  readonly callers: number;
  readonly durationMs: number;
  /** An empty message is an answer, too, as that of a list without items. */
  readonly answersMayBeEmpty?: boolean;
}

/** The result of a load test. */
interface LoadResult {
  readonly callsPerSecond: number;
  readonly latenciesMs: readonly number[];
}

const frame = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  window: 8,
} as const;
const endStream = 1;
const acknowledge = 1;
const endHeaders = 4;
const headerBytes = 9;
const grpcPrefixBytes = 5;
const maxWindow = 0x7f_ff_ff_ff;
const firstWindow = 65_535;
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Calls until the time is over. Rejects when an answer carries no message, which is an error's. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const socket = createConnection(options.socket);
  await once(socket, "connect");
  try {
    return await new Caller(socket, options).run();
  } finally {
    socket.destroy();
  }
}

/** The time of one call without a request, whose answer is read and not decoded; milliseconds. */
export async function callOnce(socket: string, name: string): Promise<number> {
  const method = `/runtime.v1.RuntimeService/${name}`;
  const request = new Uint8Array();
  const { latenciesMs } = await load({ socket, method, request, callers: 1, durationMs: 0 });
  return percentile(latenciesMs, 0.5);
}

/** One connection with its callers. */
class Caller {
  readonly #socket: Socket;
  readonly #options: LoadOptions;
  readonly #done = Promise.withResolvers<undefined>();
  readonly #latenciesMs: number[] = [];
  readonly #sentAtMs = new Map<number, number>();
  readonly #bytes = new Map<number, number>();
  readonly #call: Buffer;
  #pending: Buffer = Buffer.alloc(0);
  #out: Buffer[] = [];
  #nextStream = 1;
  #unacknowledged = 0;
  #endMs = 0;

  constructor(socket: Socket, options: LoadOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#call = callFrames(indexedHeaders, options.request);
  }

  async run(): Promise<LoadResult> {
    this.#socket.on("data", (chunk: Buffer) => this.#read(chunk));
    this.#socket.on("error", (error) => this.#done.reject(error));
    this.#socket.on("close", () => this.#done.reject(new Error("the server hung up")));
    // Setting 4 is the window of a stream; that of the connection is only widened by an update.
    const settings = Buffer.from([0, 4, 0, 0, 0, 0]);
    settings.writeUInt32BE(maxWindow, 2);
    this.#out.push(preface, makeFrame(frame.settings, 0, 0, settings));
    this.#out.push(windowUpdate(maxWindow - firstWindow));
    const begin = performance.now();
    this.#endMs = begin + this.#options.durationMs;
    this.#begin(callFrames(literalHeaders(this.#options.method), this.#options.request));
    for (let caller = 1; caller < this.#options.callers; caller++) this.#begin(this.#call);
    this.#flush();
    await this.#done.promise;
    const seconds = (performance.now() - begin) / 1000;
    return {
      callsPerSecond: this.#latenciesMs.length / seconds,
      latenciesMs: this.#latenciesMs,
    };
  }

  #begin(template: Buffer): void {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const frames = Buffer.from(template);
    const headersBytes = headerBytes + frames.readUIntBE(0, 3);
    frames.writeUInt32BE(stream, 5);
    frames.writeUInt32BE(stream, headersBytes + 5);
    this.#sentAtMs.set(stream, performance.now());
    this.#out.push(frames);
  }

  #flush(): void {
    if (this.#out.length > 0) this.#socket.write(Buffer.concat(this.#out));
    this.#out = [];
  }

  #read(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    let at = 0;
    while (this.#pending.length - at >= headerBytes) {
      const length = this.#pending.readUIntBE(at, 3);
      const end = at + headerBytes + length;
      if (this.#pending.length < end) break;
      this.#take(this.#pending.subarray(at, end));
      at = end;
    }
    this.#pending = this.#pending.subarray(at);
    this.#flush();
  }

  #take(bytes: Buffer): void {
    const type = bytes[3];
    const flags = bytes[4] ?? 0;
    const stream = bytes.readUInt32BE(5) & maxWindow;
    const length = bytes.length - headerBytes;
    if (type === frame.data) {
      this.#bytes.set(stream, (this.#bytes.get(stream) ?? 0) + length);
      this.#widen(length);
    } else if (type === frame.headers && (flags & endStream) !== 0) {
      this.#end(stream);
    } else if (type === frame.settings && (flags & acknowledge) === 0) {
      this.#out.push(makeFrame(frame.settings, acknowledge, 0, Buffer.alloc(0)));
    } else if (type === frame.ping && (flags & acknowledge) === 0) {
      this.#out.push(makeFrame(frame.ping, acknowledge, 0, bytes.subarray(headerBytes)));
    } else if (type === frame.reset && !this.#sentAtMs.has(stream)) {
      // A server may close a stream that it has answered (RFC 9113, section 8.1).
    } else if (type === frame.reset || type === frame.goAway) {
      const what = type === frame.reset ? "reset the stream" : "is going away";
      const detail = bytes.subarray(headerBytes).toString("latin1");
      this.#done.reject(new Error(`${this.#options.method}: the server ${what}: ${detail}`));
    }
  }

  #end(stream: number): void {
    const now = performance.now();
    this.#latenciesMs.push(now - (this.#sentAtMs.get(stream) ?? now));
    this.#sentAtMs.delete(stream);
    const length = this.#bytes.get(stream) ?? 0;
    this.#bytes.delete(stream);
    const least = this.#options.answersMayBeEmpty === true ? grpcPrefixBytes : grpcPrefixBytes + 1;
    if (length < least) {
      this.#done.reject(new Error(`${this.#options.method}: answered with an error`));
    } else if (now < this.#endMs) {
      this.#begin(this.#call);
    } else if (this.#sentAtMs.size === 0) {
      this.#done.resolve(undefined);
    }
  }

  #widen(length: number): void {
    this.#unacknowledged += length;
    if (this.#unacknowledged < maxWindow / 4) return;
    this.#out.push(windowUpdate(this.#unacknowledged));
    this.#unacknowledged = 0;
  }
}

function makeFrame(type: number, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(headerBytes);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return makeFrame(frame.window, 0, 0, payload);
}

/** HEADERS and DATA of a call; the stream is filled in later. */
function callFrames(headers: Uint8Array, request: Uint8Array): Buffer {
  const prefix = Buffer.alloc(grpcPrefixBytes);
  prefix.writeUInt32BE(request.length, 1);
  return Buffer.concat([
    makeFrame(frame.headers, endHeaders, 0, headers),
    makeFrame(frame.data, endStream, 0, Buffer.concat([prefix, request])),
  ]);
}

/** The header block of the first call, which puts four fields into the table (RFC 7541, 6.2.1). */
function literalHeaders(method: string): Buffer {
  const text = (value: string): readonly number[] => [value.length, ...Buffer.from(value)];
  const field = (name: readonly number[], value: string): readonly number[] => [
    ...name,
    ...text(value),
  ];
  return Buffer.from([
    ...[0x83, 0x86], // :method POST, :scheme http, of the static table
    ...field([0x44], method), // :path
    ...field([0x41], "localhost"), // :authority
    ...field([0x5f], "application/grpc"), // content-type
    ...field([0x40, ...text("te")], "trailers"),
  ]);
}

/** That of all others: the same by reference to the table, whose newest entry is number 62. */
const indexedHeaders = Buffer.from([0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62]);
