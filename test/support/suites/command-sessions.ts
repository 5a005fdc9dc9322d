/** A client of davit.v1.Containers/Exec: sends messages at any time, and collects the answers. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { CriClient } from "../../../src/client/cri-client.ts";
import type {
  ExecRequestSchema,
  ExecResponse,
  ExecStartSchema,
} from "../../../src/gen/davit/v1/containers_pb.ts";
import type { TestDaemon } from "../daemon.ts";
import { readProcesses } from "../snapshot/processes.ts";
import { type ContainerInit, pidOf, type Pod, runIn, script } from "./containers.ts";
import { until } from "./pods.ts";

type Message = MessageInitShape<typeof ExecRequestSchema>;
/** What a message has. */
export type Part = NonNullable<Message["part"]>;

/** How a session reads. */
interface SessionOptions {
  readonly signal?: AbortSignal;
  /** False to count bytes only. */
  readonly keeps?: boolean;
  /** Called before each answer is read: a slow reader waits here. */
  readonly beforeEach?: (response: ExecResponse) => Promise<void> | undefined;
}

/** A command that runs, and what its client received. */
export class CommandSession implements AsyncDisposable {
  stdout = "";
  stderr = "";
  bytes = 0;
  /** The kinds of the answers, without repetitions. */
  readonly kinds: string[] = [];
  /** Resolves with the exit code; rejects with the status of the call. */
  readonly end: Promise<number>;
  readonly #client: CriClient;
  readonly #messages = new PassThrough({ objectMode: true, highWaterMark: 4 });

  constructor(daemon: TestDaemon, first: Part | undefined, options: SessionOptions = {}) {
    // A connection of its own, which a test can end.
    this.#client = new CriClient(daemon.paths.socket);
    this.end = this.#run(options).finally(() => {
      this.#client.close();
      this.#messages.destroy();
    });
    this.end.catch(() => undefined);
    if (first !== undefined) void this.send(first);
  }

  /** Sends a message; resolves when more can be sent. */
  async send(part: Part): Promise<void> {
    if (this.#messages.destroyed) return;
    if (!this.#messages.write({ part })) {
      await Promise.race([once(this.#messages, "drain"), this.end.catch(() => undefined)]);
    }
  }

  async type(text: string): Promise<void> {
    await this.send({ case: "stdin", value: Buffer.from(text) });
  }

  async endInput(): Promise<void> {
    await this.send({ case: "stdinEnd", value: {} });
  }

  async signal(value: string): Promise<void> {
    await this.send({ case: "signal", value });
  }

  /** Ends the messages, as a client that half-closes its call. */
  endMessages(): void {
    this.#messages.end();
  }

  /** Closes the connection without a word. */
  disconnect(): void {
    this.#client.close();
  }

  async says(text: string | RegExp): Promise<void> {
    await until(
      () => `it says ${String(text)}, after ${JSON.stringify(this.stdout.slice(-200))}`,
      () => (typeof text === "string" ? this.stdout.includes(text) : text.test(this.stdout)),
    );
  }

  async started(): Promise<void> {
    await until("the command has started", () => this.kinds.includes("started"));
  }

  async #run({ signal, keeps = true, beforeEach }: SessionOptions): Promise<number> {
    const requests = this.#messages as AsyncIterable<Message>;
    const answers = this.#client.containers.exec(requests, signal === undefined ? {} : { signal });
    let exitCode: number | undefined;
    for await (const response of answers) {
      await beforeEach?.(response);
      const { part } = response;
      if (this.kinds.at(-1) !== part.case) this.kinds.push(part.case ?? "none");
      if (part.case === "stdout" || part.case === "stderr") {
        this.bytes += part.value.length;
        if (keeps) this[part.case] += Buffer.from(part.value).toString("latin1");
      }
      if (part.case === "end") exitCode = part.value.exitCode;
    }
    if (exitCode === undefined) throw new Error("the call ended without an end of the command");
    return exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disconnect();
    await this.end.catch(() => undefined);
  }
}

type Start = MessageInitShape<typeof ExecStartSchema>;

/** Runs a command in a container. */
export function openSession(
  daemon: TestDaemon,
  containerId: string,
  command: readonly string[],
  start: Omit<Start, "$typeName" | "$unknown"> = {},
  options: SessionOptions = {},
): CommandSession {
  const value = { containerId, command: [...command], ...start };
  return new CommandSession(daemon, { case: "start", value }, options);
}

/** Runs a container that reaps what commands leave, and waits until all of its own processes are there. */
export async function runReaper(pod: Pod, changes: ContainerInit = {}): Promise<string> {
  const id = await runIn(pod, script("while :; do sleep 100000; done", changes));
  await pidOf(pod.daemon, id);
  await until(
    "the container's own sleep runs",
    () => processesWith("sleep\u0000100000").length > 0,
  );
  return id;
}

/** The processes whose command line has the mark. */
export function processesWith(mark: string): readonly number[] {
  return readProcesses()
    .map(({ pid }) => pid)
    .filter((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
        return line.includes(mark) && pid !== process.pid;
      } catch {
        return false; // It has ended.
      }
    });
}

/** Resolves when no process has the mark in its command line. */
export const gone = (mark: string): Promise<unknown> =>
  until(`no process with ${mark} is left`, () => processesWith(mark).length === 0);
