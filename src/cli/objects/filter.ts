import type { Call, OptionSpec } from "../command-line/command.ts";

/** The options by which pods and containers are chosen for a list. */
export const filterOptions = {
  label: { value: "KEY=VALUE", many: true, doc: "Only those with this label" },
  name: { value: "PATTERN", doc: "Only those whose name matches this regular expression" },
  namespace: {
    short: "n",
    value: "NAME",
    doc: "Only those of pods in this namespace",
    complete: "namespace",
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** An object as the filters see it. */
export interface Filterable {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Whether an object passes the filters of a call. The labels are read once, here. */
export function readFilter(call: Call): (object: Filterable) => boolean {
  const labels = Object.entries(call.options.pairs("label"));
  const name = call.options.pattern("name");
  const namespace = call.options.text("namespace");
  return (object) =>
    labels.every(([key, value]) => object.labels[key] === value) &&
    (name === undefined || name.test(object.name)) &&
    (namespace === undefined || namespace === object.namespace);
}
