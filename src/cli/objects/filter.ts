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
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** What filters need to know about an object. */
interface Filterable {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The filter of a call. Throws a UsageError for invalid options. */
export function readFilter(call: Call): (object: Filterable) => boolean {
  const labels = Object.entries(call.options.pairs("label"));
  const name = call.options.pattern("name");
  const namespace = call.options.text("namespace");
  return (object) =>
    labels.every(([key, value]) => object.labels[key] === value) &&
    (name === undefined || name.test(object.name)) &&
    (namespace === undefined || namespace === object.namespace);
}
