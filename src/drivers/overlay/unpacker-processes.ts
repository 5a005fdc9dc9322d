import type { Socket } from "node:net";
import { isKind } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { releaseTransferred } from "../../base/transferable.ts";
import type { BlobChunk, UnreadBytes } from "../../base/unread-bytes.ts";
import {
  type Child,
  type ChildExit,
  keepText,
  type OwnProgram,
  RootSender,
  SIGKILL,
  startOwnProgram,
} from "../../linux/process/index.ts";
import { PipeEnd } from "../../linux/stream/index.ts";

/** The unpacker limits the names in its report to 640 KiB, which JSON may make longer. */
const REPORT_MAX = 4 * 1024 * 1024;
/** Between two small layers of a pull. An unpacker needs some 60 MB. */
const defaultIdleMs = 250;

/** The child that unpacks. */
type ChildWithInput = Child & { readonly stdin: Socket; readonly stdinFd: number };

/** A process that unpacks one layer after the other. */
export class UnpackerProcess {
  readonly stdin: Socket;
  /** Resolves when the process has ended. */
  readonly exited: Promise<ChildExit>;
  readonly #child: ChildWithInput;
  /** The same end of the same pipe as `stdin`, once it is used. */
  #pipe: PipeEnd | undefined;
  readonly #complaint: Promise<string>;
  readonly #roots: RootSender;
  #parts: Buffer[] = [];
  #size = 0;
  #answered = Promise.withResolvers<string | undefined>();

  constructor(child: ChildWithInput, roots: RootSender) {
    this.#child = child;
    this.#roots = roots;
    this.stdin = child.stdin;
    this.exited = child.exited;
    this.#complaint = keepText(child.stderr, REPORT_MAX);
    child.stdout?.on("data", (part: Buffer) => this.#take(part));
    child.stdout?.on("close", () => this.#answered.resolve(undefined));
    void child.exited.then(() => {
      this.#pipe?.[Symbol.dispose]();
      void roots.close();
    });
  }

  /** Sends the directory of the next job. It sees nothing else from then on. */
  async enter(directory: string): Promise<void> {
    await this.#roots.send(directory);
  }

  /** True while it can take the next job: what a process sends without one is of no layer. */
  get isFree(): boolean {
    return this.#size === 0 && !this.stdin.destroyed;
  }

  /** Sends the line of a job. Its answer is one line, `undefined` when the process ends without one. */
  begin(job: object): Promise<string | undefined> {
    this.stdin.write(`${JSON.stringify(job)}\n`);
    return this.#answered.promise;
  }

  /**
   * Passes on a part of the blob. Resolves when the next one may follow; never when the process no longer reads,
   * since its answer or its end has the reason.
   */
  send(chunk: BlobChunk): Promise<void> | undefined {
    if (!(chunk instanceof Uint8Array)) return this.#move(chunk);
    if (this.stdin.write(chunk, () => releaseTransferred(chunk))) return undefined;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.stdin.once("drain", () => resolve(undefined));
    return promise;
  }

  /** Prepares for the next job after an answer. */
  reset(): void {
    this.#answered = Promise.withResolvers<string | undefined>();
    this.stdin.removeAllListeners("drain");
  }

  /** The beginning of what it has written to stderr, once it has ended. */
  async complaint(): Promise<string> {
    return (await this.#complaint).trim().slice(0, 500);
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    this.#child.kill(SIGKILL); // without effect if it has ended
    await this.exited;
    await this.#roots.close();
    this.#pipe?.[Symbol.dispose]();
    this.stdin.destroy();
  }

  async #move(bytes: UnreadBytes): Promise<void> {
    if (this.stdin.writableLength > 0) {
      // After all that was written before.
      await new Promise((resolve) => this.stdin.write("", resolve));
    }
    // The number of a closed descriptor may be that of another file by now.
    if (!this.stdin.destroyed) this.#pipe ??= new PipeEnd(this.#child.stdinFd);
    const pipe = this.#pipe;
    try {
      if (pipe !== undefined) {
        await bytes.moveTo(pipe);
        return;
      }
    } catch (error) {
      if (isKind(error, "failed-precondition")) {
        await this.send(await bytes.read());
        return;
      }
      if (errnoCode(error) !== "EPIPE" && pipe?.isClosed !== true) throw error;
    }
    await new Promise(() => undefined);
  }

  #take(part: Buffer): void {
    this.#size += part.length;
    if (this.#size <= REPORT_MAX) this.#parts.push(part);
    if (part.at(-1) !== 0x0a && this.#size <= REPORT_MAX) return;
    const text = Buffer.concat(this.#parts).toString("utf8");
    this.#parts = [];
    this.#size = 0;
    this.#answered.resolve(text);
  }
}

/** A process that waits for the next layer of a pull. */
interface Waiting {
  readonly pull: object;
  readonly timer: NodeJS.Timeout;
}

/**
 * Unpackers: one that has finished a layer waits for the next one of the same pull for a moment, since its start takes
 * 35 ms. Never for that of another pull: a layer that had taken over the process could write to it.
 */
export class UnpackerProcesses {
  readonly #command: OwnProgram;
  readonly #idleMs: number;
  readonly #idle = new Map<UnpackerProcess, Waiting>();

  constructor(command: OwnProgram, idleMs = defaultIdleMs) {
    this.#command = command;
    this.#idleMs = idleMs;
  }

  /**
   * One of this pull that waits, or a new one, with a directory for its next job. The caller kills it or gives it back.
   */
  async take(directory: string, pull: object | undefined): Promise<UnpackerProcess> {
    const unpacker = (await this.#waiting(pull)) ?? (await this.#start());
    try {
      await unpacker.enter(directory);
      return unpacker;
    } catch (cause) {
      await unpacker.kill();
      throw cause;
    }
  }

  async #waiting(pull: object | undefined): Promise<UnpackerProcess | undefined> {
    for (const [waiting, { pull: last, timer }] of [...this.#idle].reverse()) {
      if (last !== pull) continue;
      clearTimeout(timer);
      this.#idle.delete(waiting);
      if (waiting.isFree) return waiting;
      await waiting.kill();
    }
    return undefined;
  }

  async #start(): Promise<UnpackerProcess> {
    const { started, sender } = await RootSender.open((roots) =>
      startOwnProgram(this.#command, [], { confinement: "unpacker", roots }),
    );
    return new UnpackerProcess(started as ChildWithInput, sender);
  }

  /** Takes back one whose layer is complete. It is ended if no layer of the pull follows soon. */
  async give(unpacker: UnpackerProcess, pull: object | undefined): Promise<void> {
    unpacker.reset();
    if (this.#idleMs === 0 || pull === undefined) {
      await unpacker.kill();
      return;
    }
    const timer = setTimeout(() => {
      this.#idle.delete(unpacker);
      void unpacker.kill();
    }, this.#idleMs);
    timer.unref();
    this.#idle.set(unpacker, { pull, timer });
    void unpacker.exited.then(() => {
      clearTimeout(timer);
      this.#idle.delete(unpacker);
    });
  }
}
