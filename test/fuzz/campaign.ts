/** Runs one target on mutated and generated inputs, in this process. */
import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";

import fc from "fast-check";

import { Random } from "../support/random.ts";
import type { Coverage } from "./coverage.ts";
import { mutate, repeatPart } from "./mutate.ts";
import { shrink } from "./shrink.ts";
import type { FuzzTarget } from "./target.ts";

/** An input for which an invariant does not hold, as small as it could be made. */
export interface FuzzFailure {
  readonly input: Buffer;
  readonly error: unknown;
}

/** How a target is run. */
export interface CampaignOptions {
  readonly seed: number;
  /** More inputs that are run first: those that failed once, and the corpus of earlier runs. */
  readonly inputs?: readonly Buffer[];
  readonly isOver: (cases: number) => boolean;
  /** With it, inputs that reach new code become a part of the corpus. */
  readonly coverage?: Coverage;
  /** Inputs that need more CPU time than the target allows are failures. */
  readonly isTimed?: boolean;
  /** Called before each run. */
  readonly before?: (input: Buffer) => void;
  /** The failures after which it stops; 1. */
  readonly maxFailures?: number;
}

/** What a run has done. */
export interface CampaignResult {
  readonly cases: number;
  readonly corpus: readonly Buffer[];
  readonly failures: readonly FuzzFailure[];
}

const batchSize = 48;
const defaultMaxBytes = 16 * 1024;
const defaultMaxLongBytes = 256 * 1024;

/** Runs a target until `isOver`, or until it has failed too often. */
export async function runCampaign(
  target: FuzzTarget,
  options: CampaignOptions,
): Promise<CampaignResult> {
  return await new Campaign(target, options).run();
}

/** Runs one input. Returns the error when an invariant does not hold. */
export async function errorOf(target: FuzzTarget, input: Buffer): Promise<unknown> {
  try {
    // The code may change what it is given, as for a socket's chunk.
    await target.check(Buffer.from(input));
    return undefined;
  } catch (error) {
    return error ?? new Error("it threw nothing");
  }
}

class Campaign {
  readonly #target: FuzzTarget;
  readonly #options: CampaignOptions;
  readonly #random: Random;
  readonly #maxBytes: number;
  readonly #words: readonly Buffer[];
  readonly #corpus: Buffer[] = [];
  readonly #failures: FuzzFailure[] = [];
  readonly #signatures = new Set<string>();
  #cases = 0;

  constructor(target: FuzzTarget, options: CampaignOptions) {
    this.#target = target;
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#maxBytes = target.maxBytes ?? defaultMaxBytes;
    this.#words = (target.words ?? []).map((word) => Buffer.from(word, "latin1"));
  }

  async run(): Promise<CampaignResult> {
    const first = [...this.#target.seeds(), ...(this.#options.inputs ?? [])];
    for (const input of first) {
      await this.#runOne(input);
      this.#corpus.push(input);
    }
    this.#options.coverage?.hasNew();
    for (let round = 0; !this.#isOver(); round++) {
      if (this.#target.structured !== undefined && round % 4 === 3) await this.#generate();
      else if (this.#options.isTimed === true && round % 16 === 6) await this.#stretch();
      else await this.#batch(Array.from({ length: batchSize }, () => this.#mutated()));
      await turn();
    }
    return { cases: this.#cases, corpus: this.#corpus, failures: this.#failures };
  }

  #isOver(): boolean {
    const { isOver, maxFailures = 1 } = this.#options;
    return this.#failures.length >= maxFailures || isOver(this.#cases);
  }

  /** Recent inputs are chosen more often: they reach what others do not. */
  #mutated(): Buffer {
    const { length } = this.#corpus;
    const random = this.#random;
    const recent = random.chance(0.3) ? Math.max(0, length - 16) : 0;
    const parent = this.#corpus[random.between(recent, length - 1)] ?? Buffer.alloc(0);
    const from = { corpus: this.#corpus, words: this.#words, maxBytes: this.#maxBytes };
    return mutate(parent, random, from);
  }

  async #batch(inputs: readonly Buffer[]): Promise<void> {
    for (const input of inputs) {
      if (this.#isOver()) return;
      await this.#runOne(input);
    }
    const { coverage } = this.#options;
    if (coverage?.hasNew(true) !== true) return;
    for (const input of inputs) {
      await errorOf(this.#target, input);
      if (coverage.hasNew() && input.length <= this.#maxBytes) this.#corpus.push(input);
    }
  }

  /** A few long inputs, which repeat a part of one of the corpus: a parser that is not linear is slow then. */
  async #stretch(): Promise<void> {
    const inputs = Array.from({ length: 4 }, () => {
      const from =
        this.#corpus[this.#random.between(0, this.#corpus.length - 1)] ?? Buffer.alloc(1);
      return repeatPart(from, this.#random, this.#target.maxLongBytes ?? defaultMaxLongBytes);
    });
    await this.#batch(inputs);
  }

  async #generate(): Promise<void> {
    const arbitrary = this.#target.structured;
    if (arbitrary === undefined) return;
    const seed = this.#random.between(0, 2 ** 31 - 1);
    const before = this.#failures.length;
    const settings = { seed, numRuns: batchSize };
    await this.#batch(fc.sample(arbitrary, settings));
    if (this.#failures.length === before) return;
    // fast-check knows how its values become simpler.
    const property = fc.asyncProperty(arbitrary, async (input) => {
      const error = await errorOf(this.#target, input);
      if (error !== undefined) throw error instanceof Error ? error : new Error(signatureOf(error));
    });
    const { counterexample } = await fc.check(property, {
      ...settings,
      interruptAfterTimeLimit: 20_000,
    });
    const [simplest] = counterexample ?? [];
    const error = simplest === undefined ? undefined : await errorOf(this.#target, simplest);
    if (simplest === undefined || error === undefined) return;
    this.#failures.splice(before, 1, { input: await this.#smallest(simplest, error), error });
  }

  async #runOne(input: Buffer): Promise<void> {
    this.#options.before?.(input);
    this.#cases++;
    const start = process.cpuUsage();
    const error = (await errorOf(this.#target, input)) ?? (await this.#slowness(input, start));
    if (error === undefined) return;
    const signature = signatureOf(error);
    if (this.#signatures.has(signature)) return;
    this.#signatures.add(signature);
    this.#failures.push({ input: await this.#smallest(input, error), error });
  }

  async #smallest(input: Buffer, error: unknown): Promise<Buffer> {
    if (error instanceof SlowError) return input;
    const signature = signatureOf(error);
    const end = Date.now() + 30_000;
    return await shrink(input, async (candidate) => {
      if (Date.now() > end) return false;
      const found = await errorOf(this.#target, candidate);
      return found !== undefined && signatureOf(found) === signature;
    });
  }

  /** An error for an input that needs too much CPU time three times in a row. */
  async #slowness(input: Buffer, start: NodeJS.CpuUsage): Promise<Error | undefined> {
    if (this.#options.isTimed !== true) return undefined;
    const limitMs = (this.#target.limitMs ?? defaultLimitMs)(input.length);
    let leastMs = milliseconds(process.cpuUsage(start));
    for (let again = 0; again < 2 && leastMs > limitMs; again++) {
      const next = process.cpuUsage();
      await errorOf(this.#target, input);
      leastMs = Math.min(leastMs, milliseconds(process.cpuUsage(next)));
    }
    if (leastMs <= limitMs) return undefined;
    return new SlowError(
      `slow: ${Math.round(leastMs)} ms of CPU time for ${input.length} bytes; the limit is ${Math.round(limitMs)}`,
    );
  }
}

class SlowError extends Error {}

function milliseconds({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1000;
}

function defaultLimitMs(bytes: number): number {
  return 100 + 2 * (bytes / 1024);
}

/** What distinguishes one defect from another: the error without numbers and quoted texts, and where it was thrown. */
function signatureOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? error.cause : error;
  const [, frame = ""] = /\n\s+at ([^\n]*\/(?:src|test)\/[^\n]*)/.exec(cause.stack ?? "") ?? [];
  const text = error.message.split("\n", 1)[0] ?? "";
  const plain = text
    .replace(/"[^"]*"/g, '""')
    .replace(/\d+/g, "0")
    .slice(0, 60);
  return `${error.name} ${plain} ${frame}`;
}

/** A short name for an input, from its bytes. */
export function inputName(input: Buffer): string {
  return createHash("sha256").update(input).digest("hex").slice(0, 12);
}
