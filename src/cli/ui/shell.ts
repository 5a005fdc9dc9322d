import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../../base/errors.ts";
import type { RemoteCommand } from "../../client/streaming/index.ts";
import type { MessagePiece } from "../../wire/websocket/frames.ts";
import { acceptKey, refusalOf } from "../../wire/websocket/handshake.ts";
import type { WebSocketConnection } from "../../wire/websocket/connection.ts";
import { doing, reasonOf } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { shellProtocol } from "./access.ts";
import { refuseUpgrade } from "./respond.ts";

/** Shells at the same time, over all pages. */
const maxShells = 8;
/** Input is keys and pasted text; a size is a few bytes. */
const maxMessageBytes = 1024 * 1024;
const maxUnreadBytes = 256 * 1024;
/** Output that a page has not acknowledged. A terminal discards what is written to it faster than it draws. */
const maxUnacknowledgedBytes = 512 * 1024;

/** bash where the image has it. */
const command = ["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"];

/**
 * Shells in containers. Each is a WebSocket of the page joined with a stream of the CRI's Exec: binary messages
 * are input and output; a text message is `{"cols":80,"rows":24}` or `{"ack":4096}` from the page, and
 * `{"exitCode":0}` or `{"failure":"..."}` to it, after which the connection is closed. With `ack` the page
 * acknowledges bytes of output that it has shown. A page that does not stops the output after 512 KiB.
 */
export class Shells {
  readonly #server: Server;
  readonly #open = new Set<Duplex>();

  constructor(server: Server) {
    this.#server = server;
  }

  /** Accepts the upgrade of an authorized request, and runs a shell until either side ends. */
  open(request: IncomingMessage, transport: Duplex, containerId: string): void {
    const refusal = refusalOf(request.headers);
    if (refusal !== undefined || this.#open.size >= maxShells) {
      const code = refusal === undefined ? "503 Service Unavailable" : "400 Bad Request";
      refuseUpgrade(transport, code);
      return;
    }
    const key = acceptKey(request.headers["sec-websocket-key"] ?? "");
    transport.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Accept: ${key}\r\nSec-WebSocket-Protocol: ${shellProtocol}\r\n\r\n`,
    );
    this.#open.add(transport);
    transport.on("close", () => this.#open.delete(transport));
    void this.#serve(transport, containerId);
  }

  async #serve(transport: Duplex, containerId: string): Promise<void> {
    // Loaded by the first shell, as most pages never open one.
    const { WebSocketConnection } = await import("../../wire/websocket/connection.ts");
    const gone = new AbortController();
    const signal = AbortSignal.any([this.#server.signal, gone.signal]);
    const shown = new Unacknowledged(signal);
    const input = new Input(shown);
    const socket = new WebSocketConnection({
      transport,
      role: "server",
      maxMessageBytes,
      maxUnreadBytes,
      onMessage: (piece) => input.receive(socket, piece),
    });
    void socket.closed.then(() => gone.abort());
    try {
      const remote = await this.#exec(containerId, signal);
      input.connect(socket, remote);
      await forwardOutput(socket, remote, shown);
      sendText(socket, await remote.end);
    } catch (error) {
      sendText(socket, { failure: reasonOf(messageOf(error)) });
    } finally {
      socket.close();
    }
  }

  async #exec(containerId: string, signal: AbortSignal): Promise<RemoteCommand> {
    const { openRemoteCommand } = await import("../../client/streaming/index.ts");
    const { client, limit } = this.#server;
    const streams = { stdin: true, stdout: true, stderr: false };
    const request = { containerId, cmd: command, tty: true, ...streams };
    const what = `run a shell in container "${containerId}"`;
    const { url } = await doing(what, client.runtime.exec(request, limit()));
    return doing(what, openRemoteCommand(url, { ...streams, terminal: true, signal }));
  }
}

/** The output that was sent to a page, and that it has not acknowledged. */
class Unacknowledged {
  readonly #signal: AbortSignal;
  #bytes = 0;
  #wake: () => void = () => undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake());
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  remove(bytes: number): void {
    this.#bytes = Math.max(0, this.#bytes - bytes);
    this.#wake();
  }

  /** Waits until there are at most maxUnacknowledgedBytes. Throws when the signal is aborted. */
  async wait(): Promise<void> {
    this.#signal.throwIfAborted();
    while (this.#bytes > maxUnacknowledgedBytes) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#signal.throwIfAborted();
    }
  }
}

/** What arrives from the page: input, which waits until the command is connected, sizes, and acknowledgements. */
class Input {
  readonly #shown: Unacknowledged;
  #remote: RemoteCommand | undefined;
  #early: Buffer[] = [];
  #text = "";
  #size: { readonly width: number; readonly height: number } | undefined;

  constructor(shown: Unacknowledged) {
    this.#shown = shown;
  }

  receive(socket: WebSocketConnection, { text, piece, first, last }: MessagePiece): void {
    if (text) {
      this.#text = (first ? "" : this.#text) + piece.toString();
      if (last) this.#control(this.#text);
      return;
    }
    socket.addUnread(piece.length);
    if (this.#remote === undefined) this.#early.push(Buffer.from(piece));
    else this.#write(socket, this.#remote, piece);
  }

  connect(socket: WebSocketConnection, remote: RemoteCommand): void {
    this.#remote = remote;
    remote.stdin?.on("error", () => undefined);
    if (this.#size !== undefined) remote.resize(this.#size);
    for (const piece of this.#early.splice(0)) this.#write(socket, remote, piece);
  }

  #write(socket: WebSocketConnection, { stdin }: RemoteCommand, piece: Buffer): void {
    stdin?.write(Buffer.from(piece), () => socket.removeUnread(piece.length));
  }

  #control(message: string): void {
    const { ack, size } = parseControl(message);
    if (ack !== undefined) this.#shown.remove(ack);
    if (size === undefined) return;
    this.#size = size;
    this.#remote?.resize(size);
  }
}

/** A text message of the page. What is invalid is left out. */
export function parseControl(message: string): {
  readonly ack?: number;
  readonly size?: { readonly width: number; readonly height: number };
} {
  try {
    const { ack, cols, rows } = JSON.parse(message) as Readonly<Record<string, unknown>>;
    const isBelow = (value: unknown, end: number): value is number =>
      Number.isInteger(value) && Number(value) > 0 && Number(value) < end;
    return {
      ...(isBelow(ack, 2 ** 32) ? { ack } : {}),
      ...(isBelow(cols, 10_000) && isBelow(rows, 10_000)
        ? { size: { width: cols, height: rows } }
        : {}),
    };
  } catch {
    return {};
  }
}

async function forwardOutput(
  socket: WebSocketConnection,
  { stdout }: RemoteCommand,
  shown: Unacknowledged,
): Promise<void> {
  if (stdout === undefined) return;
  for await (const chunk of stdout as AsyncIterable<Buffer>) {
    await shown.wait();
    shown.add(chunk.length);
    await new Promise<void>((resolve, reject) => {
      socket.send("binary", [chunk], (error) => (error === undefined ? resolve() : reject(error)));
    });
  }
}

function sendText(socket: WebSocketConnection, value: object): void {
  socket.send("text", [Buffer.from(JSON.stringify(value))], () => undefined);
}
