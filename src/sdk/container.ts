import type {
  Container,
  ContainerCalls,
  CopyOptions,
  ExecOptions,
  ExecResult,
  ExecValue,
  Exit,
  LogLine,
  LogsOptions,
  Paused,
  PauseOptions,
  Process,
  SpawnOptions,
  Usage,
  WriteOptions,
} from "./api/container.ts";
import { commandWords } from "./command-words.ts";
import { ended, stats, usage } from "./ended.ts";
import { type CommandTarget, exec, spawn } from "./exec.ts";
import { copyIn, copyOut, readFile, writeFile } from "./files.ts";
import { logs } from "./logs.ts";
import { pause, resume } from "./pause.ts";

/** Only a signal. */
interface Abortable {
  readonly signal?: AbortSignal;
}

/** The calls of a container that is found by `find`. */
export class Calls implements ContainerCalls {
  readonly #find: () => Promise<CommandTarget>;

  constructor(find: () => Promise<CommandTarget>) {
    this.#find = find;
  }

  exec(command: TemplateStringsArray, ...values: readonly ExecValue[]): Promise<ExecResult>;
  exec(command: readonly string[], options?: ExecOptions): Promise<ExecResult>;
  async exec(
    command: TemplateStringsArray | readonly string[],
    ...others: readonly unknown[]
  ): Promise<ExecResult> {
    if ("raw" in command) {
      const words = commandWords(command, others as readonly ExecValue[]);
      return await exec(await this.#find(), words);
    }
    return await exec(await this.#find(), command, others[0] as ExecOptions | undefined);
  }

  async spawn(command: readonly string[], options?: SpawnOptions): Promise<Process> {
    return await spawn(await this.#find(), command, options);
  }

  async *logs(options?: LogsOptions): AsyncGenerator<LogLine, void, undefined> {
    yield* logs(await this.#find(), options);
  }

  async write(
    path: string,
    data: string | Uint8Array | AsyncIterable<Uint8Array>,
    options?: WriteOptions,
  ): Promise<void> {
    await writeFile(await this.#find(), path, data, options);
  }

  async read(path: string, options: Abortable = {}): Promise<Uint8Array> {
    return await readFile(await this.#find(), path, options.signal);
  }

  async readText(path: string, options: Abortable = {}): Promise<string> {
    return (await readFile(await this.#find(), path, options.signal)).toString("utf8");
  }

  async copyIn(from: string, to: string, options?: CopyOptions): Promise<void> {
    await copyIn(await this.#find(), from, to, options);
  }

  async copyOut(from: string, to: string, options?: CopyOptions): Promise<void> {
    await copyOut(await this.#find(), from, to, options);
  }

  async ended(options: Abortable = {}): Promise<Exit> {
    return await ended(await this.#find(), options.signal);
  }

  async usage(options: Abortable = {}): Promise<Usage> {
    return await usage(await this.#find(), options.signal);
  }

  async *stats(
    options?: Abortable & { readonly everyMs?: number },
  ): AsyncGenerator<Usage, void, undefined> {
    yield* stats(await this.#find(), options);
  }
}

/** What is known of a container. */
export interface ContainerFacts extends CommandTarget {
  readonly name: string;
  readonly image: string;
}

/** A container of a pod. */
export class RunningContainer extends Calls implements Container {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly #pauseTarget: Parameters<typeof pause>[0];

  constructor(facts: ContainerFacts) {
    super(() => Promise.resolve(facts));
    const { connection, id, path } = facts;
    this.#pauseTarget = { connection, id, shown: `container "${path}"` };
    this.id = facts.id;
    this.name = facts.name;
    this.image = facts.image;
  }

  async pause(options?: PauseOptions): Promise<Paused> {
    return await pause(this.#pauseTarget, options);
  }

  async resume(options?: Abortable): Promise<void> {
    await resume(this.#pauseTarget, options);
  }
}
