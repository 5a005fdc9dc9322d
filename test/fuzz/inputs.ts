/** Where inputs are kept: those that failed, in the repository, and the corpora of earlier runs, in a cache. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { inputName } from "./campaign.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const failures = path.join(import.meta.dirname, "failures");
const corpora = path.join(repo, "node_modules/.cache/davit-fuzz");

/** The inputs of a target that failed once; every test run repeats them. */
export function failedInputs(target: string): ReadonlyMap<string, Buffer> {
  return readAll(path.join(failures, target));
}

/** Keeps an input that failed. Returns its path in the repository. */
export function saveFailure(target: string, input: Buffer): string {
  return path.relative(repo, save(path.join(failures, target), input));
}

/** The corpus that earlier runs have left. */
export function savedCorpus(target: string): readonly Buffer[] {
  return [...readAll(path.join(corpora, target)).values()];
}

/** Adds to the corpus for later runs. */
export function saveCorpus(target: string, inputs: readonly Buffer[]): void {
  for (const input of inputs) save(path.join(corpora, target), input);
}

function save(directory: string, input: Buffer): string {
  mkdirSync(directory, { recursive: true });
  const file = path.join(directory, inputName(input));
  if (!existsSync(file)) writeFileSync(file, input);
  return file;
}

function readAll(directory: string): ReadonlyMap<string, Buffer> {
  if (!existsSync(directory)) return new Map();
  const names = readdirSync(directory).sort();
  return new Map(names.map((name) => [name, readFileSync(path.join(directory, name))]));
}
