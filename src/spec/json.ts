import { RuntimeError } from "../base/errors.ts";
import type { OciProcess, OciResources, OciSpec } from "./runtime-spec.ts";

// ES2026 (JSON.parse source text access); Node has it since 22, TypeScript's library not yet.
const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => object };

/**
 * The JSON of a spec or a part of it. Every bigint is written with all its digits: a double would
 * round a memory limit above 2^53.
 */
export function specText(part: OciSpec | OciProcess | OciResources): string {
  return JSON.stringify(part, (_key, value: unknown) =>
    typeof value === "bigint" ? rawJSON(value.toString()) : value,
  );
}

/**
 * The process of a spec that {@link specText} wrote. Only for davit's own files: nothing but the
 * presence of a process is checked. `data-loss` for anything else.
 */
export function processOfSpecText(text: string): OciProcess {
  let spec: unknown;
  try {
    spec = JSON.parse(text);
  } catch (cause) {
    throw new RuntimeError("data-loss", "read container's spec: it is not JSON", { cause });
  }
  if (typeof spec !== "object" || spec === null || !("process" in spec)) {
    throw new RuntimeError("data-loss", "read container's spec: it has no process");
  }
  return spec.process as OciProcess;
}
