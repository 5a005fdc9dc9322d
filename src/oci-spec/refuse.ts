import { RuntimeError } from "../base/errors.ts";
import { quote } from "../base/quote.ts";

/** Refuses a container config with `invalid-argument`; `why` names field and value. */
export function refuse(why: string): never {
  throw new RuntimeError("invalid-argument", `check container config: ${why}`);
}

/** Refuses limits of a container or pod with `invalid-argument`; `why` names field and value. */
export function refuseLimit(why: string): never {
  throw new RuntimeError("invalid-argument", `check resources: ${why}`);
}

/** Refuses what this node or pod cannot do with `failed-precondition`. */
export function refuseHere(why: string): never {
  throw new RuntimeError("failed-precondition", `check container config: ${why}`);
}

/** The name of a value of a generated enum, or its number. */
export function enumName(values: Readonly<Record<string, unknown>>, value: number): string {
  return Object.entries(values).find(([, known]) => known === value)?.[0] ?? String(value);
}

/** A text in quotes, for a message. A long one is cut. */
export function quoted(text: string): string {
  return quote(text);
}
