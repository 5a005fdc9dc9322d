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
