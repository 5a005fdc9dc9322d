import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { messageOf } from "../../base/errors.ts";
import type { RemoteCommand } from "../../client/streaming/index.ts";
import type { MessagePiece } from "../../wire/websocket/frames.ts";
import { acceptKey, refusalOf } from "../../wire/websocket/handshake.ts";
import type { WebSocketConnection } from "../../wire/websocket/connection.ts";
import { doing, reasonOf } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

/** Shells at the same time, over all pages. */
const maxShells = 8;
/** Input is keys and pasted text; a size is a few bytes. */
const maxMessageBytes = 1024 * 1024;
const maxUnreadBytes = 256 * 1024;

/** bash where the image has it. */
const command = ["sh", "-c", "command -v bash >/dev/null && exec bash || exec sh"];

/**
 * Shells in containers. Each is a WebSocket of the page joined with a stream of the CRI's Exec: binary messages
 * are input and output; a text message is `{"cols":80,"rows":24}` from the page, and `{"exitCode":0}` or
 * `{"failure":"..."}` to it, after which the connection is closed. A page that reads slowly stops the output.
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
      transport.end(`HTTP/1.1 ${code}\r\nConnection: close\r\n\r\n`);
      return;
    }
    const key = acceptKey(request.headers["sec-websocket-key"] ?? "");
    transport.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        `Sec-WebSocket-Accept: ${key}\r\n\r\n`,
    );
    this.#open.add(transport);
    transport.on("close", () => this.#open.delete(transport));
    void this.#serve(transport, containerId);
  }

  /** Closes all shells. */
  close(): void {
    for (const transport of this.#open) transport.destroy();
  }

  async #serve(transport: Duplex, containerId: string): Promise<void> {
    // Loaded by the first shell, as most pages never open one.
    const { WebSocketConnection } = await import("../../wire/websocket/connection.ts");
    const input = new Input();
    const socket = new WebSocketConnection({
      transport,
      role: "server",
      maxMessageBytes,
      maxUnreadBytes,
      onMessage: (piece) => input.receive(socket, piece),
    });
    const gone = new AbortController();
    void socket.closed.then(() => gone.abort());
    const signal = AbortSignal.any([this.#server.signal, gone.signal]);
    try {
      const remote = await this.#exec(containerId, signal);
      input.connect(socket, remote);
      await forwardOutput(socket, remote, signal);
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

/** What arrives from the page: input, which waits until the command is connected, and sizes. */
class Input {
  #remote: RemoteCommand | undefined;
  #early: Buffer[] = [];
  #text = "";
  #size: { readonly width: number; readonly height: number } | undefined;

  receive(socket: WebSocketConnection, { text, piece, first, last }: MessagePiece): void {
    if (text) {
      this.#text = (first ? "" : this.#text) + piece.toString();
      if (last) this.#resize(this.#text);
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

  #resize(message: string): void {
    const size = parseSize(message);
    if (size === undefined) return;
    this.#size = size;
    this.#remote?.resize(size);
  }
}

/** The size of a terminal in a message; undefined if it is invalid. */
export function parseSize(
  message: string,
): { readonly width: number; readonly height: number } | undefined {
  try {
    const { cols, rows } = JSON.parse(message) as {
      readonly cols?: unknown;
      readonly rows?: unknown;
    };
    const isSize = (value: unknown): value is number =>
      Number.isInteger(value) && Number(value) > 0 && Number(value) < 10_000;
    return isSize(cols) && isSize(rows) ? { width: cols, height: rows } : undefined;
  } catch {
    return undefined;
  }
}

async function forwardOutput(
  socket: WebSocketConnection,
  { stdout }: RemoteCommand,
  signal: AbortSignal,
): Promise<void> {
  if (stdout === undefined) return;
  for await (const chunk of stdout as AsyncIterable<Buffer>) {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      socket.send("binary", [chunk], (error) => (error === undefined ? resolve() : reject(error)));
    });
  }
}

function sendText(socket: WebSocketConnection, value: object): void {
  socket.send("text", [Buffer.from(JSON.stringify(value))], () => undefined);
}
