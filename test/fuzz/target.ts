/** What the fuzzer needs of a target, and what checks have in common. */
import assert from "node:assert/strict";

import type { Arbitrary } from "fast-check";

import { type ErrorKind, RuntimeError } from "../../src/base/errors.ts";

/** A function of bytes with invariants. */
export interface FuzzTarget {
  readonly name: string;
  /** Small inputs of every kind that the code knows, made by code where possible. */
  readonly seeds: () => readonly Buffer[];
  /** Texts with a meaning in this format, which mutations insert. Byte strings. */
  readonly words?: readonly string[];
  /** Valid and nearly valid inputs, where random bytes would seldom be. */
  readonly structured?: Arbitrary<Buffer>;
  /** The largest input that is tried; 16 KiB. */
  readonly maxBytes?: number;
  /** The largest of the few inputs that are made long by repeating a part; 256 KiB. */
  readonly maxLongBytes?: number;
  /** The C of native/ is in it: scripts/test-native.sh runs it with sanitizers. */
  readonly isNative?: boolean;
  /** CPU time that an input of this size may need, in all its runs within check(). Milliseconds; 100, and 2 for each KiB. */
  readonly limitMs?: (bytes: number) => number;
  /** Throws when an invariant does not hold. */
  readonly check: (input: Buffer) => void | Promise<void>;
  /** Ends processes that check() has started. */
  readonly close?: () => void;
}

/** Whether test/fuzz/run.ts runs the target, and not npm test: it names a file for the current input. */
export const isLongRun: boolean = process.env["DAVIT_FUZZ_INPUT"] !== undefined;

/** The longest message of an error about hostile input: it goes into logs and events of pods. Characters. */
const maxMessage = 4096;

/**
 * The result of `read`, `undefined` when it throws an error of one of these kinds. Any other error, and a message
 * that grows with the input, is a failure of the target.
 */
export function attempt<T>(
  kinds: readonly ErrorKind[],
  read: () => T,
  longestMessage = maxMessage,
): T | undefined {
  try {
    return read();
  } catch (error) {
    expectKind(error, kinds, longestMessage);
    return undefined;
  }
}

/** As {@link attempt}, for a promise. */
export async function attemptAsync<T>(
  kinds: readonly ErrorKind[],
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    expectKind(error, kinds);
    return undefined;
  }
}

/** Throws unless the error is one of the documented ones. */
export function expectKind(
  error: unknown,
  kinds: readonly ErrorKind[],
  longestMessage = maxMessage,
): void {
  if (!(error instanceof RuntimeError)) {
    throw new Error(`threw something else than a RuntimeError: ${String(error)}`, { cause: error });
  }
  if (!kinds.includes(error.kind)) {
    throw new Error(`threw an error of kind ${error.kind}: ${error.message}`, { cause: error });
  }
  assert.ok(
    error.message.length <= longestMessage,
    `the message of an error has ${error.message.length} characters: ${error.message.slice(0, 200)}`,
  );
}

/** Asserts that two results are the same: texts, or bytes, of which assert.deepEqual() would compare each by itself. */
export function assertSame(found: string | Buffer, expected: string | Buffer, what: string): void {
  const [a, b] = [found, expected].map((one) => (typeof one === "string" ? one : undefined));
  if (typeof found !== "string" && typeof expected !== "string") {
    assert.ok(
      found.equals(expected),
      `${what}: other bytes, ${found.length} and not ${expected.length}`,
    );
  } else {
    assert.equal(a ?? "accepted", b ?? "accepted", what);
  }
}

/** Texts as seeds. */
export function textSeeds(...texts: readonly string[]): readonly Buffer[] {
  return texts.map((text) => Buffer.from(text));
}

/** Values as seeds, in JSON. */
export function jsonSeeds(...values: readonly unknown[]): readonly Buffer[] {
  return textSeeds(...values.map((value) => JSON.stringify(value)));
}

/** The bytes in pieces whose sizes follow from the bytes themselves, so that a run can be repeated. */
export function pieces(bytes: Buffer, salt = 0): readonly Buffer[] {
  const found: Buffer[] = [];
  let state = (bytes.length + salt) >>> 0;
  for (let at = 0; at < bytes.length; ) {
    state = (Math.imul(state ^ (bytes[at] ?? 0), 0x9e3779b1) + 1) >>> 0;
    const isSmall = (state & 1) === 0;
    const length = 1 + ((state >>> 8) % (isSmall ? 7 : 700));
    found.push(Buffer.from(bytes.subarray(at, at + length)));
    at += length;
  }
  return found;
}
