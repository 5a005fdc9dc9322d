import type { Call, OptionSpec } from "../command-line/command.ts";

/** The options that filter lists of pods and containers. */
export const filterOptions = {
  label: { value: "KEY=VALUE", many: true, doc: "List only objects with this label (repeatable)" },
  name: { value: "PATTERN", doc: "List only objects whose name matches this regular expression" },
  namespace: {
    short: "n",
    value: "NAME",
    doc: "List only objects in this namespace",
    complete: "namespace",
  },
  "all-namespaces": {
    short: "A",
    hidden: true,
    doc: "All namespaces are listed without --namespace",
  },
  filter: {
    value: "KEY=VALUE",
    many: true,
    doc: "As in docker: status=STATE, label=KEY=VALUE, name=PATTERN or id=PREFIX (repeatable)",
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** What filters need to know about an object. */
interface Filterable {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * The state that --state or --filter asks for, one of `states`; undefined for all. Throws a UsageError for
 * another one.
 */
export function stateFilter<T extends string>(
  { options }: Call,
  states: readonly T[],
): T | undefined {
  const text = options.text("state") ?? filterPairs({ options }).get("status")?.at(-1);
  const found = states.find((state) => state === text);
  if (text === undefined || found !== undefined) return found;
  throw options.invalid("filter", `has status "${text}": must be one of ${states.join(", ")}`);
}

const filterKeys = ["status", "label", "name", "id"];

/** The values of --filter by key. */
function filterPairs({ options }: Pick<Call, "options">): ReadonlyMap<string, readonly string[]> {
  const pairs = new Map<string, string[]>();
  for (const text of options.texts("filter")) {
    const at = text.indexOf("=");
    const key = text.slice(0, Math.max(at, 0));
    if (!filterKeys.includes(key)) {
      const known = filterKeys.map((each) => `${each}=...`).join(", ");
      throw options.invalid("filter", `is "${text}": must be one of ${known}`);
    }
    pairs.set(key, [...(pairs.get(key) ?? []), text.slice(at + 1)]);
  }
  return pairs;
}

/** KEY=VALUE, or KEY for any value. */
function hasLabel(labels: Readonly<Record<string, string>>, text: string): boolean {
  const at = text.indexOf("=");
  return at < 0 ? text in labels : labels[text.slice(0, at)] === text.slice(at + 1);
}

/** The filter of a call. Throws a UsageError for invalid options. */
export function readFilter(call: Call): (object: Filterable) => boolean {
  const filters = filterPairs(call);
  const patterns = (filters.get("name") ?? []).map((text) => patternOf(call, text));
  const labels = Object.entries(call.options.pairs("label"));
  const name = call.options.pattern("name");
  const namespace = call.options.text("namespace");
  return (object) =>
    patterns.every((pattern) => pattern.test(object.name)) &&
    (filters.get("label") ?? []).every((text) => hasLabel(object.labels, text)) &&
    (filters.get("id") ?? []).every((prefix) => object.id.startsWith(prefix)) &&
    labels.every(([key, value]) => object.labels[key] === value) &&
    (name === undefined || name.test(object.name)) &&
    (namespace === undefined || namespace === object.namespace);
}

function patternOf({ options }: Call, text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw options.invalid("filter", `has name "${text}": must be a regular expression`);
  }
}
