/** `davit ui` as a process of its own, and a client of its server that can send any header. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import type { LiveState } from "../../../src/page/view.ts";
import type { TestDaemon } from "../daemon.ts";
import { patient } from "../patience.ts";
import { program } from "./cli.ts";

/** A response. */
interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface RequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: object | string;
}

/** A running `davit ui`. */
export class Ui implements AsyncDisposable {
  /** The address that it has printed. */
  readonly url: URL;
  readonly child: ChildProcess;
  /** What it wrote to stderr so far. */
  errors = "";
  /** The secrets of a session, once there is one. */
  cookie = "";
  key = "";

  static async start(daemon: TestDaemon, ...args: readonly string[]): Promise<Ui> {
    const pods = ["--pods-directory", `${daemon.paths.directory}/pods`];
    const child = spawn(program, ["ui", ...pods, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        DAVIT_ENDPOINT: `unix://${daemon.paths.socket}`,
      },
    });
    const signal = AbortSignal.timeout(patient(20_000));
    const [line] = (await once(createInterface({ input: child.stdout }), "line", { signal })) as [
      string,
    ];
    return new Ui(child, new URL(line));
  }

  private constructor(child: ChildProcess, url: URL) {
    this.child = child;
    this.url = url;
    child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
      this.errors += chunk;
    });
  }

  /** The token in the address. */
  get token(): string {
    return this.url.hash.replace("#token=", "");
  }

  /** Opens a session. */
  async login(): Promise<void> {
    const { status, headers, body } = await this.post("/api/login", { token: this.token });
    assert.equal(status, 200);
    ({ key: this.key } = JSON.parse(body) as { readonly key: string });
    this.cookie = headers["set-cookie"]?.[0]?.split(";")[0] ?? "";
  }

  /** Sends a request; the response is not read yet. */
  async open(
    path: string,
    { method = "GET", headers = {}, body }: RequestOptions = {},
  ): Promise<IncomingMessage> {
    const sent = request({
      host: this.url.hostname,
      port: this.url.port,
      path,
      method,
      agent: false,
      headers: {
        ...(this.cookie === "" ? {} : { cookie: this.cookie, "x-davit-key": this.key }),
        ...headers,
      },
    });
    const answered = once(sent, "response");
    // Also after the response: a server that refuses a request need not read it.
    sent.on("error", () => undefined);
    if (body !== undefined) sent.write(typeof body === "string" ? body : JSON.stringify(body));
    sent.end();
    const [response] = (await answered) as [IncomingMessage];
    return response;
  }

  /** Sends a request, and reads the response. */
  async get(path: string, options: RequestOptions = {}): Promise<Answer> {
    const response = await this.open(path, options);
    const body = await text(response);
    return { status: response.statusCode ?? 0, headers: response.headers, body };
  }

  /** Sends a value as the page does. */
  async post(
    path: string,
    body: object | string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const own = { origin: this.url.origin, "content-type": "application/json", ...headers };
    return this.get(path, { method: "POST", headers: own, body });
  }

  /** Receives the live state until a section is as `found` says, which it returns. */
  async live<S extends keyof LiveState, T>(
    section: S,
    found: (value: LiveState[S]) => T | undefined | false,
  ): Promise<T> {
    const response = await this.open("/api/live");
    assert.equal(response.statusCode, 200);
    const timer = setTimeout(() => response.destroy(), patient(20_000));
    let last = "";
    try {
      for await (const line of createInterface({ input: response })) {
        const { [section]: changed } = JSON.parse(line) as Partial<LiveState>;
        if (changed === undefined) continue;
        last = line;
        const value = found(changed);
        if (value !== undefined && value !== false) return value;
      }
    } catch {
      // The time is over.
    } finally {
      clearTimeout(timer);
      response.destroy();
    }
    throw new Error(`wait for "${section}" of the live state; it was ${last}`);
  }

  /** The headers that a browser sends with the WebSocket of a shell of the page. */
  get shellHeaders(): Readonly<Record<string, string>> {
    return {
      Cookie: this.cookie,
      Origin: this.url.origin,
      "Sec-WebSocket-Protocol": `davit-shell, key.${this.key}`,
    };
  }

  /** Ends it as Ctrl-C does. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, "exit");
    this.child.kill("SIGINT");
    await exited;
  }
}

/** Sends a WebSocket handshake with these headers. The client does not close its end when the server does. */
export function openHandshake(
  of: Ui,
  query: string,
  headers: Readonly<Record<string, string>>,
): Socket {
  const { hostname: host, port } = of.url;
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  const lines = Object.entries({
    Host: of.url.host,
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": Buffer.alloc(16).toString("base64"),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET /api/shell?container=${query} HTTP/1.1\r\n${lines.join("")}\r\n`);
  return socket;
}

/** The first line of the response to a WebSocket handshake with these headers. */
export async function handshake(
  of: Ui,
  query: string,
  headers: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  const socket = openHandshake(of, query, headers);
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return first.toString().split("\r\n")[0];
}
