import { rawJSON } from "../base/raw-json.ts";
import { asUnicode, withBytes } from "./byte-env.ts";
import { refuse } from "./refuse.ts";
import type { OciProcess, OciResources, OciRlimit, OciSpec } from "../core/oci/index.ts";

/**
 * The JSON of a spec or a part of it, for an OCI runtime. Every bigint is written with all its digits: a
 * double would round a memory limit above 2^53. Variables that are not UTF-8 need the program at
 * {@link envProgram} in the container's root.
 */
export function specText(part: OciSpec | OciProcess | OciResources): string {
  return JSON.stringify(inUnicode(part), (_key, value: unknown) =>
    typeof value === "bigint" ? rawJSON(value.toString()) : value,
  );
}

/**
 * `invalid-argument` for a spec with a NUL, naming its field, whether it came from the image, a CDI file or
 * the handler's base: the OCI runtime's strings end at a NUL, so that it would run something else.
 */
export function refuseNul(part: OciSpec | OciProcess | OciResources): void {
  const field = fieldWithNul(part);
  if (field !== undefined) refuse(`the OCI spec would have a NUL in ${field}`);
}

/** A spec that {@link specText} wrote, as in the file: see {@link startedProcess}. */
export function parseSpec(text: string): OciSpec {
  return JSON.parse(text) as OciSpec;
}

/** The process of a spec that was read from a file, as it was before {@link specText}. */
export function startedProcess(spec: OciSpec): OciProcess {
  const process = withBytes(spec.process);
  const { rlimits } = process;
  return rlimits === undefined ? process : { ...process, rlimits: rlimits.map(exactRlimit) };
}

/** A number in JSON is a double here: no limit (2^64 - 1) was read as 2^64, which the runtime would reject. */
function exactRlimit({ type, hard, soft }: OciRlimit): OciRlimit {
  const most = 2n ** 64n - 1n;
  const exact = (limit: bigint | number): bigint => (limit > most ? most : BigInt(limit));
  return { type, hard: exact(hard), soft: exact(soft) };
}

function inUnicode<Part extends OciSpec | OciProcess | OciResources>(part: Part): Part {
  if ("process" in part) return { ...part, process: asUnicode(part.process) };
  return "env" in part ? { ...part, ...asUnicode(part) } : part;
}

function fieldWithNul(value: unknown): string | undefined {
  if (typeof value === "string") return value.includes("\0") ? "" : undefined;
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const field = key.includes("\0") ? "" : fieldWithNul(item);
    if (field !== undefined) return field === "" ? key : `${key}.${field}`;
  }
  return undefined;
}
