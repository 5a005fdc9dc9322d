import type { OptionSpec } from "../command-line/command.ts";

/** The option for a container of the pod that an operand names, as in kubectl. */
export const containerOption = {
  short: "c",
  value: "NAME",
  doc: "Container of the pod, same as POD/NAME",
} as const satisfies OptionSpec;
