import { rawJSON } from "../base/raw-json.ts";
import { asUnicode, withBytes } from "./byte-env.ts";
import { refuse } from "./refuse.ts";
import type { OciProcess, OciResources, OciSpec } from "./runtime-spec.ts";

/**
 * The JSON of a spec or a part of it. Every bigint is written with all its digits: a double would
 * round a memory limit above 2^53. Variables that are not UTF-8 need the program at
 * {@link envProgram} in the container's root.
 *
 * `invalid-argument` naming the place of a NUL, wherever it came from (the image, a CDI file, the
 * handler's base): the OCI runtime's strings end there, so that it would run something else.
 */
export function specText(part: OciSpec | OciProcess | OciResources): string {
  const text = JSON.stringify(inUnicode(part), (_key, value: unknown) =>
    typeof value === "bigint" ? rawJSON(value.toString()) : value,
  );
  // So JSON has a NUL; but also the six characters themselves, after a backslash.
  const place = text.includes("\\u0000") ? placeOfNul(part) : undefined;
  if (place !== undefined) refuse(`the OCI spec would have a NUL in ${place}`);
  return text;
}

/** The process of a spec's text, as it was before {@link specText}. */
export function processOfText(text: string): OciProcess {
  return withBytes((JSON.parse(text) as OciSpec).process);
}

function inUnicode<Part extends OciSpec | OciProcess | OciResources>(part: Part): Part {
  if ("process" in part) return { ...part, process: asUnicode(part.process) };
  return "env" in part ? { ...part, ...asUnicode(part) } : part;
}

function placeOfNul(value: unknown): string | undefined {
  if (typeof value === "string") return value.includes("\0") ? "" : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const place = key.includes("\0") ? "" : placeOfNul(item);
    if (place !== undefined) return place === "" ? key : `${key}.${place}`;
  }
  return undefined;
}
