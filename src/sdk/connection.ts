import { isAbsolute } from "node:path";
import process from "node:process";
import { messageOf } from "../base/errors.ts";
import { type CallOptions, CriClient } from "../client/cri-client.ts";
import { DavitError } from "./errors.ts";
import { aborted, explain, invalid, isMissingCall, unsupported } from "./explain.ts";

const defaultEndpoint = "/run/davit/davit.sock";

/** The timeout of lists and statuses, which a server has in memory. */
const quickMs = 10_000;

// A response to ExecSync has two streams of 16 MiB, and lists may have many objects.
const maxMessageBytes = 64 * 1024 * 1024;

/** An open connection to a server, which the parts of the SDK share. */
export class Connection {
  readonly endpoint: string;
  readonly client: CriClient;
  readonly server: { readonly name: string; readonly version: string };
  readonly #closing = new AbortController();

  private constructor(endpoint: string, client: CriClient, server: Connection["server"]) {
    this.endpoint = endpoint;
    this.client = client;
    this.server = server;
  }

  /** Connects, and asks the server for its name. */
  static async open(endpoint: string | undefined, signal?: AbortSignal): Promise<Connection> {
    const address = endpoint ?? (process.env["DAVIT_ENDPOINT"] || defaultEndpoint);
    const what = `connect to "${address}"`;
    if (!isAbsolute(address.replace(/^unix:\/\//, ""))) {
      throw invalid(`${what}: must be unix:///path/to/socket or an absolute path`);
    }
    let client: CriClient | undefined;
    try {
      client = new CriClient(address, { maxMessageBytes, keepsProcess: false });
      const { runtimeName, runtimeVersion } = await client.runtime.version(
        {},
        { timeoutMs: quickMs, ...(signal && { signal }) },
      );
      return new Connection(address, client, { name: runtimeName, version: runtimeVersion });
    } catch (error) {
      client?.close();
      throw explain(what, error, signal);
    }
  }

  /** Whether the server is davit, which has services of its own. */
  get isDavit(): boolean {
    return this.server.name === "davit";
  }

  /** Aborted when the connection is closed. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** Options for a quick call. */
  quick(signal?: AbortSignal, timeoutMs = quickMs): CallOptions {
    return signal === undefined ? { timeoutMs } : { timeoutMs, signal };
  }

  /** Waits for a call, and explains its error. */
  async doing<T>(what: string, call: Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await call;
    } catch (error) {
      throw this.explain(what, error, signal);
    }
  }

  /** As `doing`, for a call that only davit has. */
  async davitOnly<T>(what: string, call: Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await call;
    } catch (error) {
      if (isMissingCall(error)) throw this.unsupported(what, "connect to a current davit", error);
      throw this.explain(what, error, signal);
    }
  }

  /** The error for what this server cannot do, since it is not a current davit. */
  unsupported(what: string, hint: string, cause?: unknown): DavitError {
    return unsupported(what, { hint, server: this.server.name, cause });
  }

  /** The DavitError of a failure. One of a closed connection says so. */
  explain(what: string, error: unknown, signal?: AbortSignal): DavitError {
    if (signal?.aborted !== true && this.closed.aborted && !(error instanceof DavitError)) {
      return new DavitError("aborted", `${what}: the connection was closed by this program`, {
        cause: error,
      });
    }
    if (signal?.aborted === true) return aborted(what, signal);
    return explain(what, error);
  }

  /** Throws if the connection was closed. */
  check(what: string): void {
    if (!this.closed.aborted) return;
    throw new DavitError("aborted", `${what}: ${messageOf(this.closed.reason)}`);
  }

  /** Closes it; running and later calls fail. */
  close(): void {
    this.#closing.abort(new Error("the connection was closed by this program"));
    this.client.close();
  }
}
