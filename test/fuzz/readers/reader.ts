/** A reader of archives in another language: a process that answers each archive with a line of JSON. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";

/** An entry as every reader reports it. Texts are byte strings. */
export interface ReadEntry {
  /** As in a header: "0" to "6", or another. */
  readonly type: string;
  readonly path: string;
  readonly linkPath: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** 0 unless a file. */
  readonly size: number;
  /** The beginning of the SHA-256 of the content; "" where the file is too large to be read. */
  readonly content: string;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly device: string;
  /** NAME=VALUE, sorted. */
  readonly xattrs: readonly string[];
}

/** What a reader found, and whether it rejected what follows. */
export interface ReadArchive {
  readonly entries: readonly ReadEntry[];
  readonly error: string;
}

/** Larger files are not read: a sparse file can have any size. */
export const maxContent = 1024 * 1024;

/** A process of a reader. */
export class ArchiveReader {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  #end: Error | undefined;

  constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args);
    this.#child.stderr.on("data", (text: Buffer) => process.stderr.write(text));
    this.#child.on("error", (error) => this.#ended(error));
    this.#child.on("exit", (code) =>
      this.#ended(new Error(`${command} ended with ${code ?? "a signal"}`)),
    );
    this.#child.stdin.on("error", () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#lines.on("line", (line) => this.#waiting.shift()?.(line));
    this.#child.unref();
  }

  async read(archive: Buffer): Promise<ReadArchive> {
    if (this.#end !== undefined) throw this.#end;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting.push(resolve);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(archive.length);
    this.#child.stdin.write(length);
    this.#child.stdin.write(archive);
    const line = await promise;
    if (line === "") throw new Error("the reader of archives has ended");
    return JSON.parse(line) as ReadArchive;
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }

  #ended(error: Error): void {
    this.#end = error;
    for (const wake of this.#waiting.splice(0)) wake("");
  }
}
