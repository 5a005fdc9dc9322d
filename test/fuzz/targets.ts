/** The targets: each file of targets/ has one, which is loaded when it is used. */
import { readdirSync } from "node:fs";
import path from "node:path";

import type { FuzzTarget } from "./target.ts";

const directory = path.join(import.meta.dirname, "targets");

/** The names of all targets. */
export const targetNames: readonly string[] = readdirSync(directory)
  .map((file) => path.basename(file, ".ts"))
  .sort();

/** Loads a target, and the code that it tests. */
export async function loadTarget(name: string): Promise<FuzzTarget> {
  const { target } = (await import(`./targets/${name}.ts`)) as { readonly target: FuzzTarget };
  if (target.name !== name) throw new Error(`the target of targets/${name}.ts is "${target.name}"`);
  return target;
}
