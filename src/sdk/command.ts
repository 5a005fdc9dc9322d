// A command in a container, by davit's Exec or, on other servers, by the streaming addresses of the CRI.
import { Readable, Writable } from "node:stream";
import { openRemoteCommand, RequestQueue } from "../client/streaming/index.ts";
import type { ExecResponse } from "../gen/davit/v1/containers_pb.ts";
import type { SpawnOptions, TerminalSize } from "./api/container.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { invalid } from "./explain.ts";
import { pieces } from "./pieces.ts";

/** A command to run. */
export interface CommandRequest extends Omit<SpawnOptions, "stdin"> {
  readonly containerId: string;
  /** The container's name in messages. */
  readonly container: string;
  readonly command: readonly string[];
  readonly stdin: boolean;
}

/** A command that runs. */
export interface Command {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Its exit code. Rejections are handled already. */
  readonly end: Promise<number>;
  resize(size: TerminalSize): void;
  kill(signal: string | number): void;
  /** Disconnects, which ends the command. */
  close(): void;
}

/** Starts a command. Resolves when it runs. */
export async function openCommand(
  connection: Connection,
  request: CommandRequest,
): Promise<Command> {
  const [program = ""] = request.command;
  if (program === "") throw invalid(`run a command in "${request.container}": it is empty`);
  const what = `run "${program}" in container "${request.container}"`;
  connection.check(what);
  if (connection.isDavit) return await new DavitCommand(connection, request, what).started();
  return await openByAddress(connection, request, what);
}

type Request =
  Parameters<Connection["client"]["containers"]["exec"]>[0] extends AsyncIterable<infer Each>
    ? Each
    : never;

class DavitCommand implements Command {
  readonly stdin: Writable;
  readonly stdout = new OutputStream();
  readonly stderr = new OutputStream();
  readonly end: Promise<number>;
  readonly #requests = new RequestQueue<Request>();
  readonly #closing = new AbortController();
  readonly #started = Promise.withResolvers<this>();
  readonly #connection: Connection;
  readonly #what: string;

  constructor(connection: Connection, request: CommandRequest, what: string) {
    this.#connection = connection;
    this.#what = what;
    this.stdin = request.stdin ? this.#stdin() : closedInput();
    this.#requests.push({ part: { case: "start", value: startOf(request) } });
    this.#started.promise.catch(() => undefined);
    this.end = this.#read(request.signal);
    this.end.then(
      () => this.#started.resolve(this),
      (error: unknown) => this.#started.reject(error),
    );
  }

  started(): Promise<this> {
    return this.#started.promise;
  }

  resize({ width, height }: TerminalSize): void {
    this.#requests.push({ part: { case: "size", value: { width, height } } });
  }

  kill(signal: string | number): void {
    this.#requests.push({ part: { case: "signal", value: String(signal) } });
  }

  close(): void {
    this.#closing.abort();
  }

  async #read(given: AbortSignal | undefined): Promise<number> {
    const { signal: own } = this.#closing;
    const signal = given === undefined ? own : AbortSignal.any([own, given]);
    let exitCode: number | undefined;
    try {
      const responses = this.#connection.client.containers.exec(this.#requests, { signal });
      for await (const { part } of responses) {
        if (part.case === "end") exitCode = part.value.exitCode;
        else await this.#receive(part);
      }
    } catch (error) {
      if (exitCode === undefined) throw explainStart(this.#connection, this.#what, error, given);
    } finally {
      this.#requests.end();
      this.stdin.destroy();
      for (const output of [this.stdout, this.stderr]) output.finish(exitCode !== undefined);
    }
    if (exitCode !== undefined) return exitCode;
    throw new DavitError("unavailable", `${this.#what}: the server did not tell how it ended`);
  }

  async #receive(part: ExecResponse["part"]): Promise<void> {
    if (part.case === "started") this.#started.resolve(this);
    if (part.case === "stdout") await this.stdout.add(part.value);
    if (part.case === "stderr") await this.stderr.add(part.value);
  }

  #stdin(): Writable {
    const stdin = new Writable({
      write: (chunk: Buffer, _encoding, callback) => {
        const all = [...pieces(chunk)];
        const last = all.pop() ?? chunk;
        for (const value of all) this.#requests.push({ part: { case: "stdin", value } });
        this.#requests.push({ part: { case: "stdin", value: last } }, () => callback());
      },
      final: (callback) => {
        this.#requests.push({ part: { case: "stdinEnd", value: {} } }, () => callback());
      },
    });
    // A command may end before it has read everything.
    stdin.on("error", () => undefined);
    return stdin;
  }
}

/** OCI runtimes tell a missing program only in words: runc and crun, and the shims of either. */
const missingProgram = /executable file (?:.* )?not found in \$PATH|: no such file or directory$/i;

/** The error of a command that did not start; `not-found` if the image does not have the program. */
function explainStart(
  connection: Connection,
  what: string,
  error: unknown,
  signal: AbortSignal | undefined,
): DavitError {
  return withMissingProgram(connection.explain(what, error, signal));
}

/** The error of a program that did not start, as `not-found` if the image does not have it. */
export function withMissingProgram(error: DavitError): DavitError {
  if (error.kind !== "failed" || !missingProgram.test(error.message)) return error;
  return new DavitError("not-found", error.message, { stage: error.stage, cause: error.cause });
}

/** Whether a command did not start since the image does not have its program, rather than its container is gone. */
export function isMissingProgram(error: unknown): boolean {
  return (
    error instanceof DavitError && error.kind === "not-found" && missingProgram.test(error.message)
  );
}

function startOf(request: CommandRequest) {
  const { containerId, command, env = {}, user = "", workdir = "", terminal, stdin } = request;
  return {
    containerId,
    command: [...command],
    env: Object.entries(env).map(([name, value]) => ({ name, value: Buffer.from(value) })),
    user,
    workingDir: workdir,
    ...(terminal && { terminal: { width: terminal.width, height: terminal.height } }),
    stdin,
  };
}

/** An output of a command, which is filled as fast as it is read. */
class OutputStream extends Readable {
  #onRead: (() => void) | undefined;

  constructor() {
    super({ highWaterMark: 1024 * 1024 });
    this.on("close", () => this.#onRead?.());
  }

  override _read(): void {
    this.#onRead?.();
  }

  /** Adds bytes. Resolves when there is room for more, or nobody reads any more. */
  async add(bytes: Uint8Array): Promise<void> {
    if (this.destroyed || this.push(bytes)) return;
    await new Promise<void>((resolve) => {
      this.#onRead = resolve;
      if (this.destroyed) resolve();
    });
  }

  /** Ends it. One that is not complete is destroyed, so that a reader does not take it for the whole. */
  finish(isComplete: boolean): void {
    if (this.destroyed) return;
    if (isComplete) this.push(null);
    else this.destroy();
  }
}

function closedInput(): Writable {
  const input = new Writable({ write: (_chunk, _encoding, callback) => callback() });
  input.end();
  return input;
}

async function openByAddress(
  connection: Connection,
  request: CommandRequest,
  what: string,
): Promise<Command> {
  const { containerId, command, env, user, workdir, terminal, stdin, signal } = request;
  if (env !== undefined || user !== undefined || workdir !== undefined) {
    throw connection.unsupported(what, "env, user and workdir of a command need davit");
  }
  const tty = terminal !== undefined;
  const streams = { stdin, stdout: true, stderr: !tty };
  const call = connection.client.runtime.exec(
    { containerId, cmd: [...command], tty, ...streams },
    connection.quick(signal),
  );
  const { url } = await connection.doing(what, call, signal);
  const options = { ...streams, terminal: tty, ...(signal && { signal }) };
  const remote = await connection.doing(what, openRemoteCommand(url, options), signal);
  if (terminal !== undefined) remote.resize(terminal);
  remote.stdin?.on("error", () => undefined);
  const end = connection.doing(what, remote.end, signal).then((ended) => {
    if ("exitCode" in ended) return ended.exitCode;
    throw new DavitError("failed", `${what}: ${ended.failure}`);
  });
  end.catch(() => undefined);
  return {
    stdin: remote.stdin ?? closedInput(),
    stdout: remote.stdout ?? Readable.from([]),
    stderr: remote.stderr ?? Readable.from([]),
    end,
    resize: (size) => remote.resize(size),
    kill: (name) => {
      if (name !== "SIGKILL" && name !== 9)
        throw connection.unsupported(what, "signals other than SIGKILL need davit");
      remote.close();
    },
    close: () => remote.close(),
  };
}
