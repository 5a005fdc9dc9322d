import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";

/** Longer than any name of a file. */
const maxNameLength = 255;

/** The name of a plugin, and the index by which plugins are asked one after the other. */
export interface PluginName {
  readonly base: string;
  /** Two digits. */
  readonly index: string;
}

/** The name by which plugins are shown: index and name. */
export function nameOf({ index, base }: PluginName): string {
  return `${index}-${base}`;
}

/** Checks what a plugin registers as (pkg/api/plugin.go of NRI). `invalid-argument`. */
export function checkName({ base, index }: PluginName): PluginName {
  if (!/^[0-9]{2}$/.test(index)) {
    throw new RuntimeError(
      "invalid-argument",
      `the index of a plugin must be two digits; it is ${quote(index)}`,
    );
  }
  if (base.length > maxNameLength || !/^[A-Za-z0-9_.+-]+$/.test(base)) {
    throw new RuntimeError(
      "invalid-argument",
      `the name of a plugin must have 1 to ${maxNameLength} letters, digits and _.+-; it is ${quote(base)}`,
    );
  }
  return { base, index };
}

/** The index and name in the name of a plugin's file, `NN-name`. `invalid-argument`. */
export function parseFileName(file: string): PluginName {
  const dash = file.indexOf("-");
  if (dash < 0) {
    throw new RuntimeError(
      "invalid-argument",
      `a plugin's file must have the name "NN-name", NN being its index; it is ${quote(file)}`,
    );
  }
  return checkName({ index: file.slice(0, dash), base: file.slice(dash + 1) });
}
