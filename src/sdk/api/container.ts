import type { Readable, Writable } from "node:stream";

/** What a program may put into a command: a text, a number, or a list of arguments. */
export type ExecValue = string | number | readonly (string | number)[];

/** Options of commands. */
export interface CommandOptions {
  /** Variables of this command: they are added to those of the container, or replace them. */
  readonly env?: Readonly<Record<string, string>>;
  /** As in images: USER, UID, USER:GROUP or UID:GID. Without it, the container's user. */
  readonly user?: string;
  /** An absolute path. Without it, the container's working directory. */
  readonly workdir?: string;
  /** Ends the command. */
  readonly signal?: AbortSignal;
}

/** Options of `exec`. */
export interface ExecOptions extends CommandOptions {
  /** What the command reads from its stdin. Without it, end of file. */
  readonly input?: string | Uint8Array;
  /** Throw an `ExecError` when the exit code is not 0; `true` if not given. */
  readonly check?: boolean;
  /** Kills the command after this time, and throws a DavitError `deadline`. */
  readonly timeoutMs?: number;
  /** Kills the command when its outputs are larger, and throws a DavitError `no-space`; 64 MiB if not given. */
  readonly maxOutputBytes?: number;
}

/** What a command did. */
export interface ExecResult {
  readonly exitCode: number;
  /** The whole output, as UTF-8, with its last newline. */
  readonly stdout: string;
  readonly stderr: string;
}

/** The size of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** Options of `spawn`. */
export interface SpawnOptions extends CommandOptions {
  /** Gives the command a terminal of this size; its output is then all on `stdout`. */
  readonly terminal?: TerminalSize;
  /** Gives the command a stdin; `true` if not given. */
  readonly stdin?: boolean;
}

/** How a command ended. */
export interface ProcessExit {
  /** The code; 128 and the number of the signal, for a command that a signal ended. */
  readonly exitCode: number;
}

/**
 * A running command. `await using` kills it. Its streams are those of Node.js, each of which is an async iterable;
 * `Readable.toWeb` and `Writable.toWeb` make web streams of them. Outputs that are not read stop the command when
 * the buffers are full, as with pipes.
 */
export interface Process extends AsyncDisposable {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Ending it is end of file for the command. */
  readonly stdin: Writable;
  readonly stdout: Readable;
  /** Empty with a terminal. */
  readonly stderr: Readable;
  /** How it ended. Rejects with a DavitError when that cannot be known; that is never an unhandled rejection. */
  readonly exit: Promise<ProcessExit>;
  /** Sets the size of the terminal. */
  resize(size: TerminalSize): void;
  /** Sends a signal to the command itself; SIGTERM if not given. */
  kill(signal?: string | number): void;
}

/** A line of a log. */
export interface LogLine {
  /** When it was written. */
  readonly time: Date;
  readonly stream: "stdout" | "stderr";
  /** The text as UTF-8, without the newline at its end. */
  readonly text: string;
  /** The line continues in the next one of the same stream. */
  readonly partial: boolean;
}

/** Options of `logs`. */
export interface LogsOptions {
  /** Continue with new lines until the container has ended. */
  readonly follow?: boolean;
  /** Only this number of lines from the end. */
  readonly tail?: number;
  /** Only lines that were written at this time or later. */
  readonly since?: Date;
  /** Only lines that were written before this time. */
  readonly until?: Date;
  /** Ends the loop, without an error. */
  readonly signal?: AbortSignal;
}

/** Options of `write`. */
export interface WriteOptions {
  /** The permissions, such as 0o755. Without it, what the shell in the container gives: mostly 0o644. */
  readonly mode?: number;
  readonly signal?: AbortSignal;
}

/** Options of `copyIn` and `copyOut`. */
export interface CopyOptions {
  /** Called with each path that was left out: devices and sockets, and links when they are copied out. */
  readonly onSkipped?: (path: string) => void;
  readonly signal?: AbortSignal;
}

/** How a container ended. */
export interface Exit {
  /** The code; 128 and the number of the signal, for a program that a signal ended. */
  readonly exitCode: number;
  /** In one word: "Completed", "Error", "OOMKilled". */
  readonly reason: string;
  /** More, or empty. */
  readonly message: string;
  readonly finishedAt: Date;
}

/** What a container uses, or used until its end. What is not known is undefined. */
export interface Usage {
  readonly time: Date;
  /** The container has ended: these are its last figures. */
  readonly ended: boolean;
  /** CPU time of all its processes, in milliseconds. */
  readonly cpuMs: number | undefined;
  /** Memory in use, as of the working set of Kubernetes. */
  readonly memoryBytes: number | undefined;
  /** The most memory that was ever in use, page cache included. */
  readonly memoryPeakBytes: number | undefined;
  /** How many times the kernel killed a process of it for lack of memory. */
  readonly oomKills: number | undefined;
  /** Bytes of block devices. */
  readonly readBytes: number | undefined;
  readonly writtenBytes: number | undefined;
  /** Processes and threads. */
  readonly pids: number | undefined;
}

/** What can be done with a container, and with a pod of one container. */
export interface ContainerCalls {
  /**
   * Runs a command to its end: exec`ls -l ${directory}`. There is no shell: the words of the text are the program
   * and its arguments, and each value is one argument, or a part of one, whatever it contains; a list is several
   * arguments. Quotes and operators of shells are rejected: for a shell, use exec(["sh", "-c", script]).
   *
   * @throws ExecError when the exit code is not 0
   */
  exec(command: TemplateStringsArray, ...values: readonly ExecValue[]): Promise<ExecResult>;
  /** Runs a program with arguments to its end. There is no shell. */
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  /** Starts a command with separate streams, or with a terminal. Resolves when it runs. */
  spawn(command: readonly string[], options?: SpawnOptions): Promise<Process>;
  /** The lines of the log, from its beginning, also of a container that has ended. */
  logs(options?: LogsOptions): AsyncIterable<LogLine>;
  /**
   * Writes a file in the container, and the directories above it. A file that exists is replaced. Needs `sh` and
   * `cat`, or `tar`, in the image.
   */
  write(
    path: string,
    data: string | Uint8Array | AsyncIterable<Uint8Array>,
    options?: WriteOptions,
  ): Promise<void>;
  /** The bytes of a file in the container. Needs `cat` or `tar` in the image. */
  read(path: string, options?: { readonly signal?: AbortSignal }): Promise<Uint8Array>;
  /** The text of a file in the container, as UTF-8. */
  readText(path: string, options?: { readonly signal?: AbortSignal }): Promise<string>;
  /**
   * Copies a file or directory of this machine to the container; into `to` if that is a directory. Needs `tar` and
   * `test` in the image.
   */
  copyIn(from: string, to: string, options?: CopyOptions): Promise<void>;
  /** Copies a file or directory of the container to this machine; into `to` if that is a directory. Needs `tar`. */
  copyOut(from: string, to: string, options?: CopyOptions): Promise<void>;
  /** Waits for the end of the container. */
  ended(options?: { readonly signal?: AbortSignal }): Promise<Exit>;
  /** What the container uses now, or used until its end. */
  usage(options?: { readonly signal?: AbortSignal }): Promise<Usage>;
  /** The usage every `everyMs` (1000) until the container has ended or the signal is aborted. */
  stats(options?: {
    readonly everyMs?: number;
    readonly signal?: AbortSignal;
  }): AsyncIterable<Usage>;
}

/** Options of `pause`. */
export interface PauseOptions {
  /**
   * Writes memory to swap, as far as the kernel can. Throws a DavitError `failed` where the server has no cgroup v2; it is
   * not paused then.
   */
  readonly reclaimMemory?: boolean;
  readonly signal?: AbortSignal;
}

/** What `pause` did. */
export interface Paused {
  /** How many bytes fewer are in memory; 0 without `reclaimMemory`. */
  readonly reclaimedBytes: number;
}

/** A container of a pod. */
export interface Container extends ContainerCalls {
  readonly id: string;
  readonly name: string;
  /** The image as it was named. */
  readonly image: string;
  /**
   * Freezes its processes, which keep their memory. Calls that run a command reject until it is resumed. Does nothing if
   * it is paused already.
   */
  pause(options?: PauseOptions): Promise<Paused>;
  /** Lets its processes run on. Does nothing if it is not paused. */
  resume(options?: { readonly signal?: AbortSignal }): Promise<void>;
}
