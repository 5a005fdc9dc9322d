import { RuntimeError } from "../../base/errors.ts";
import type { OptionalField, RuntimeFeatures } from "../../core/handler/index.ts";
import type { PluginAdjustments, SpecHost } from "../input.ts";

/** What the adjustments of plugins need to know about the machine. The caller did all I/O. */
export interface AdjustFacts extends Omit<PluginAdjustments, "adjustment"> {
  readonly host: Pick<SpecHost, "cgroupVersion" | "oomScoreAdjFloor">;
  /** The features of the OCI runtime of the container's handler. */
  readonly runtime: RuntimeFeatures;
}

/** Refuses adjustments that this node cannot make, with `failed-precondition`; `why` names the field. */
export function refuseAdjustment(why: string): never {
  throw new RuntimeError("failed-precondition", `apply the adjustments of NRI plugins: ${why}`);
}

/** Refuses a field that the OCI runtime would ignore without a word. */
export function needsRuntime({ runtime }: AdjustFacts, field: OptionalField): void {
  if (runtime.optionalFields?.includes(field) === true) return;
  refuseAdjustment(
    `the OCI runtime of the container's handler does not support ${field}; use a newer one, or another handler`,
  );
}

/** A name that stands for the removal of an entry begins with "-" (NRI). */
export function splitRemoval(name: string): { readonly key: string; readonly removed: boolean } {
  return name.startsWith("-")
    ? { key: name.slice(1), removed: true }
    : { key: name, removed: false };
}

/** A map with changes. Removals come first, so that an entry that is removed and set again has its new value. */
export function changedTable<Value>(
  before: Readonly<Record<string, Value>> | undefined,
  changes: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value>> {
  const table = new Map(Object.entries(before ?? {}));
  const all = Object.entries(changes).map(([name, value]) => ({ ...splitRemoval(name), value }));
  for (const { key } of all.filter(({ removed }) => removed)) table.delete(key);
  for (const { key, value } of all.filter(({ removed }) => !removed)) table.set(key, value);
  return Object.fromEntries(table);
}
