import { Readable } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import type { TerminalSize } from "../../core/streaming/index.ts";
import { parseSignal } from "../../oci-spec/index.ts";
import { Handoff } from "./handoff.ts";

/** What the client of a command sends. */
export type CommandInput =
  | { readonly kind: "stdin"; readonly bytes: Uint8Array }
  | { readonly kind: "stdin-end" }
  | { readonly kind: "size"; readonly size: TerminalSize }
  /** By name or number. */
  | { readonly kind: "signal"; readonly signal: string };

/** What is read ahead of the command, so that a signal gets past a little input. Bytes. */
const readAhead = 64 * 1024;
/** The kernel's own fields have 16 bits (ioctl_tty(2)). */
const longestSide = 0xffff;

/** The inputs of a command as the streams that runtimes read. */
export class CommandInputs {
  /** Undefined for a command without one. */
  readonly stdin: Readable | undefined;
  readonly sizes = new Handoff<TerminalSize>();
  readonly signals = new Handoff<number>();
  readonly #containerId: string;
  readonly #hasTerminal: boolean;
  #stdinEnded: boolean;
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(options: {
    readonly containerId: string;
    readonly stdin: boolean;
    readonly terminal: TerminalSize | undefined;
  }) {
    const { containerId, stdin, terminal } = options;
    this.#containerId = containerId;
    this.#hasTerminal = terminal !== undefined;
    this.#stdinEnded = !stdin;
    if (terminal !== undefined) void this.sizes.put(this.#checkedSize(terminal));
    if (!stdin) return;
    const read = (): void => {
      this.#wake?.();
    };
    this.stdin = new Readable({ highWaterMark: readAhead, read });
  }

  /**
   * Distributes inputs until their end, or until close(): no faster than the command takes them. Rejects with
   * `invalid-argument` for one that the command cannot have, and with `aborted` if they end before stdin does.
   */
  async read(inputs: AsyncIterable<CommandInput>): Promise<void> {
    try {
      for await (const input of inputs) {
        if (this.#closed) return;
        await this.#take(input);
      }
    } catch (error) {
      if (this.#closed) return;
      throw error;
    }
    if (this.#stdinEnded || this.#closed) return;
    // NOTE(node): a client on node:http2 that cancels its call ends its messages first.
    const text = `exec in container "${this.#containerId}": the client ended its messages without the end of stdin`;
    throw new RuntimeError("aborted", text);
  }

  /** Ends the streams. No more inputs are read. */
  close(): void {
    this.#closed = true;
    this.sizes.close();
    this.signals.close();
    this.stdin?.on("error", () => undefined).destroy();
    this.#wake?.();
  }

  async #take(input: CommandInput): Promise<void> {
    switch (input.kind) {
      case "stdin":
        return this.#write(input.bytes);
      case "stdin-end":
        this.#checkStdin("end of stdin");
        this.#stdinEnded = true;
        this.stdin?.push(null);
        return;
      case "size":
        if (!this.#hasTerminal) this.#refuse("a size was sent, but the command has no terminal");
        return this.sizes.put(this.#checkedSize(input.size));
      case "signal":
        return this.signals.put(this.#checkedSignal(input.signal));
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    this.#checkStdin("stdin");
    if (bytes.length === 0 || this.stdin?.push(bytes) !== false) return;
    while (!this.#closed && this.stdin.readableLength >= readAhead) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => {
        resolve(undefined);
      };
      await promise;
    }
  }

  #checkStdin(what: string): void {
    if (this.stdin === undefined) {
      this.#refuse(
        `${what} was sent, but the command has no stdin; set stdin in the first message`,
      );
    }
    if (this.#stdinEnded) this.#refuse(`${what} was sent after the end of stdin`);
  }

  #checkedSize({ width, height }: TerminalSize): TerminalSize {
    if (isSide(width) && isSide(height)) return { width, height };
    return this.#refuse(
      `the size of a terminal must be 1 to ${longestSide} characters each way, got ${width} and ${height}`,
    );
  }

  #checkedSignal(text: string): number {
    const signal = parseSignal(text);
    if (signal !== undefined) return signal.number;
    return this.#refuse(
      `there is no signal ${quote(text)}; send a name such as SIGTERM, or a number`,
    );
  }

  #refuse(why: string): never {
    const text = `exec in container "${this.#containerId}": ${why}`;
    throw new RuntimeError("invalid-argument", text);
  }
}

function isSide(length: number): boolean {
  return Number.isInteger(length) && length > 0 && length <= longestSide;
}
