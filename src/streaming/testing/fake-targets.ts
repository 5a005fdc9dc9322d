import { once } from "node:events";
import { connect } from "node:net";
import { PassThrough, type Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RuntimeError } from "../../base/errors.ts";
import type {
  AttachRequest,
  ClientStreams,
  ExecEnd,
  ExecRequest,
  StreamTargets,
  TerminalSize,
} from "../../core/streaming/index.ts";

/** Programs of a fake container, by the first word of the command. */
export type Programs = Readonly<
  Record<
    string,
    (streams: ClientStreams, signal: AbortSignal, args: readonly string[]) => Promise<ExecEnd>
  >
>;

/** Targets in memory. `connect` reaches ports of this machine's loopback. */
export class FakeTargets implements StreamTargets {
  readonly sizes: TerminalSize[] = [];
  /** The reasons of the aborted signals of commands. */
  readonly aborted: unknown[] = [];
  readonly connected: Duplex[] = [];
  readonly programs: Programs;
  /** What an attach does before its client gets the output. */
  attaching: (() => Promise<void>) | undefined;

  constructor(programs: Programs = {}) {
    this.programs = { ...builtIn, ...programs };
  }

  async exec(request: ExecRequest, streams: ClientStreams, signal: AbortSignal): Promise<ExecEnd> {
    signal.addEventListener("abort", () => this.aborted.push(signal.reason));
    const [name = "", ...args] = request.command;
    const program = this.programs[name];
    if (program === undefined) {
      throw new RuntimeError(
        "not-found",
        `run "${name}" in container "${request.containerId}": no such file`,
      );
    }
    void this.#noteSizes(streams);
    const end = await program(streams, signal, args);
    for (const output of [streams.stdout, streams.stderr]) {
      if (output === undefined || output.destroyed) continue;
      output.end();
      await once(output, "finish");
    }
    return end;
  }

  async attach(request: AttachRequest, streams: ClientStreams, signal: AbortSignal): Promise<void> {
    await this.attaching?.();
    streams.onStarted?.();
    await this.exec({ ...request, command: ["cat"] }, streams, signal);
  }

  async connect(sandboxId: string, port: number, _signal: AbortSignal): Promise<Duplex> {
    const socket = connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    try {
      await once(socket, "connect");
    } catch (cause) {
      throw new RuntimeError("unavailable", `connect to port ${port} of "${sandboxId}": refused`, {
        cause,
      });
    }
    this.connected.push(socket);
    return socket;
  }

  async #noteSizes(streams: ClientStreams): Promise<void> {
    for await (const size of streams.sizes) this.sizes.push(size);
  }
}

const builtIn: Programs = {
  cat: async ({ stdin, stdout }) => {
    if (stdin !== undefined && stdout !== undefined) await pipeline(stdin, stdout, { end: false });
    return { exitCode: 0 };
  },
  echo: async ({ stdout, stderr }, _signal, args) => {
    stdout?.write(`${args.join(" ")}\n`);
    stderr?.write(`err ${args.join(" ")}\n`);
    return { exitCode: 0 };
  },
  exit: async (_streams, _signal, [code]) => ({ exitCode: Number(code) }),
  /** Writes this many blocks of 64 KiB, each of another byte. */
  flood: async ({ stdout }, signal, [blocks]) => {
    const source = new PassThrough();
    const sending = pipeline(source, stdout ?? source, { end: false, signal });
    for (let i = 0; i < Number(blocks); i++) {
      if (!source.write(Buffer.alloc(64 * 1024, i))) await once(source, "drain", { signal });
    }
    source.end();
    await sending;
    return { exitCode: 0 };
  },
  /** Runs until its client disconnects. */
  sleep: async (_streams, signal) => {
    await once(signal, "abort");
    throw new RuntimeError("canceled", "run sleep: the client left");
  },
};
