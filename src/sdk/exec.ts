import type { Readable } from "node:stream";
import { maxTimerMs } from "../base/time.ts";
import type {
  ExecOptions,
  ExecResult,
  Process,
  SpawnOptions,
  TerminalSize,
} from "./api/container.ts";
import { type Command, openCommand } from "./command.ts";
import type { Connection } from "./connection.ts";
import { DavitError, ExecError } from "./errors.ts";
import { invalid } from "./explain.ts";

/** A container, as commands need it. */
export interface CommandTarget {
  readonly connection: Connection;
  readonly id: string;
  /** Its name in messages. */
  readonly path: string;
}

const defaultMaxOutputBytes = 64 * 1024 * 1024;

/** Runs a command to its end, and collects its outputs. */
export async function exec(
  target: CommandTarget,
  command: readonly string[],
  options: ExecOptions = {},
): Promise<ExecResult> {
  const { bytes, exitCode } = await execBytes(target, command, options);
  const [stdout, stderr] = bytes.map((output) => output.toString("utf8")) as [string, string];
  if (exitCode === 0 || options.check === false) return { exitCode, stdout, stderr };
  throw new ExecError(target.path, { command, exitCode, stdout, stderr });
}

/** As `exec`, with the outputs as bytes. Never throws an ExecError. */
export async function execBytes(
  target: CommandTarget,
  command: readonly string[],
  options: Omit<ExecOptions, "check">,
): Promise<{ readonly bytes: readonly [Buffer, Buffer]; readonly exitCode: number }> {
  const { input, timeoutMs, maxOutputBytes = defaultMaxOutputBytes, signal, ...others } = options;
  const what = `run "${command[0] ?? ""}" in container "${target.path}"`;
  const limit = new AbortController();
  const timer = startTimer(limit, what, timeoutMs);
  try {
    const running = await openCommand(target.connection, {
      ...others,
      containerId: target.id,
      container: target.path,
      command,
      stdin: input !== undefined,
      signal: signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]),
    });
    running.stdin.end(input);
    const size = { left: maxOutputBytes };
    const onFull = (): void => {
      limit.abort(
        new DavitError("no-space", `${what}: its output has more than ${maxOutputBytes} bytes`, {
          hint: "set maxOutputBytes, or read a stream of spawn()",
        }),
      );
    };
    const outputs = [running.stdout, running.stderr].map((each) => collect(each, size, onFull));
    const exitCode = await running.end;
    return { bytes: (await Promise.all(outputs)) as [Buffer, Buffer], exitCode };
  } catch (error) {
    // The limits of this call are its own errors, not those of the caller's signal.
    if (signal?.aborted !== true && limit.signal.aborted) throw limit.signal.reason as DavitError;
    throw target.connection.explain(what, error, signal);
  } finally {
    clearTimeout(timer);
  }
}

function startTimer(
  limit: AbortController,
  what: string,
  timeoutMs: number | undefined,
): NodeJS.Timeout | undefined {
  if (timeoutMs === undefined) return undefined;
  if (!(timeoutMs <= maxTimerMs)) {
    throw invalid(`${what}: timeoutMs must be at most ${maxTimerMs}; it is ${timeoutMs}`);
  }
  const timer = setTimeout(() => {
    limit.abort(
      new DavitError("deadline", `${what}: it took longer than ${timeoutMs} ms and was killed`),
    );
  }, timeoutMs);
  timer.unref();
  return timer;
}

async function collect(
  stream: Readable,
  size: { left: number },
  onFull: () => void,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      size.left -= chunk.length;
      if (size.left < 0) {
        onFull();
        break;
      }
      chunks.push(chunk);
    }
  } catch {
    // The end of the command has the error.
  }
  return Buffer.concat(chunks);
}

/** Starts a command with streams. */
export async function spawn(
  target: CommandTarget,
  command: readonly string[],
  options: SpawnOptions = {},
): Promise<Process> {
  const opened = await openCommand(target.connection, {
    ...options,
    containerId: target.id,
    container: target.path,
    command,
    stdin: options.stdin ?? true,
  });
  return new RunningProcess(command, opened);
}

class RunningProcess implements Process {
  readonly command: readonly string[];
  readonly stdin: Process["stdin"];
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly exit: Process["exit"];
  readonly #running: Command;

  constructor(command: readonly string[], running: Command) {
    this.command = command;
    this.#running = running;
    this.stdin = running.stdin;
    this.stdout = running.stdout;
    this.stderr = running.stderr;
    this.exit = running.end.then((exitCode) => ({ exitCode }));
    this.exit.catch(() => undefined);
  }

  resize(size: TerminalSize): void {
    this.#running.resize(size);
  }

  kill(signal: string | number = "SIGTERM"): void {
    const isValid =
      typeof signal === "number" ? signal >= 1 && signal <= 64 : /^SIG[A-Z0-9+-]+$/.test(signal);
    if (!isValid)
      throw invalid(`send signal "${signal}": must be a name, such as SIGTERM, or a number`);
    this.#running.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running.close();
    this.stdout.destroy();
    this.stderr.destroy();
    await this.exit.catch(() => undefined);
  }
}
