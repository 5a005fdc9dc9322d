// Who a plugin is, and where its runtime listens: options, environment and the name of the program.
import { basename, extname } from "node:path";
import { RuntimeError } from "../base/errors.ts";

/** The socket of a runtime where neither an option nor the environment names one. */
export const defaultSocket = "/var/run/nri/nri.sock";

/**
 * The environment. A runtime that starts a plugin sets NRI_PLUGIN_NAME, NRI_PLUGIN_IDX and NRI_PLUGIN_SOCKET, the number
 * of an inherited descriptor.
 */
export type PluginEnvironment = Readonly<Record<string, string | undefined>>;

/** What a plugin registers as. */
export interface Identity {
  readonly name: string;
  /** Two digits. Plugins are called in the order of their indexes. */
  readonly index: string;
}

/** What the author of a plugin says about it. */
export interface IdentityOptions {
  readonly name?: string | undefined;
  readonly index?: string | number | undefined;
}

/**
 * Name and index of a plugin: from the environment, which is the operator's or that of a runtime that has started the
 * plugin and ignores other values; else from the options; else from the name of the program, `NN-name`.
 *
 * @throws RuntimeError `invalid-argument` with what to set when one is missing or malformed.
 */
export function identityOf(
  options: IdentityOptions,
  environment: PluginEnvironment,
  program: string,
): Identity {
  const file = basename(program, extname(program));
  const [, indexOfFile, nameOfFile] = /^(\d\d)-(.+)$/.exec(file) ?? [];
  return {
    name: checkedName(
      nonEmpty(environment["NRI_PLUGIN_NAME"]) ?? options.name ?? nameOfFile ?? file,
    ),
    index: checkedIndex(
      nonEmpty(environment["NRI_PLUGIN_IDX"]) ?? options.index ?? indexOfFile,
      file,
    ),
  };
}

/** The inherited descriptor of the connection to a runtime that has started this process; undefined without one. */
export function inheritedSocket(environment: PluginEnvironment): number | undefined {
  const text = nonEmpty(environment["NRI_PLUGIN_SOCKET"]);
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  const advice = "unset it to connect to the socket of a runtime";
  throw invalid(
    `read NRI_PLUGIN_SOCKET: it is not the number of a descriptor: "${text}": ${advice}`,
  );
}

function checkedName(name: string): string {
  // What the runtimes accept: ParsePluginName and CheckPluginName of NRI.
  if (/^[A-Za-z0-9_.+-]+$/.test(name)) return name;
  throw invalid(
    `name plugin "${name}": a name has letters, digits and "_.+-" only: set the option name`,
  );
}

function checkedIndex(index: string | number | undefined, file: string): string {
  if (index === undefined) {
    const advice = `set the option index, NRI_PLUGIN_IDX, or name the program NN-${file}`;
    throw invalid(`register plugin "${file}": it has no index: ${advice}`);
  }
  const text = String(index).padStart(2, "0");
  if (/^\d\d$/.test(text)) return text;
  throw invalid(`register plugin: an index is a number from 00 to 99, got "${index}"`);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function invalid(text: string): RuntimeError {
  return new RuntimeError("invalid-argument", text);
}
