import { createHash } from "node:crypto";
import { RuntimeError } from "../../../base/errors.ts";
import { quote } from "../../../base/quote.ts";

/** A rule of a chain: the arguments that iptables is given after the name of the chain. */
export interface Rule {
  readonly chain: string;
  readonly args: readonly string[];
}

// The shortest limit of both backends (XT_EXTENSION_MAXNAMELEN less its NUL), and without characters that have a meaning.
const chainPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,27}$/;

/** True for a name that a chain of iptables can have, and that cannot be taken for an option. */
export function isChainName(name: string): boolean {
  return chainPattern.test(name);
}

/**
 * The name of a chain for one container, as the CNI plugins make it (containernetworking/plugins, pkg/utils): the
 * prefix and as much of a hash as fits 28 characters.
 */
export function chainName(network: string, containerId: string, prefix = ""): string {
  return `CNI-${prefix}${attachmentHash(network, containerId)}`.slice(0, 28);
}

/** The hash that the CNI plugins make names of, as hexadecimal digits. */
export function attachmentHash(network: string, containerId: string): string {
  return createHash("sha512")
    .update(network + containerId)
    .digest("hex");
}

/** What the name of a network may have, so that it fits into the comment of a rule. */
export const longestName = 100;

/**
 * Throws `invalid-argument` for names that do not fit into a rule: the comment of a rule has at most 255 bytes, for
 * both together and 20 more.
 */
export function checkNames(network: string, containerId: string): void {
  if (!isName(network, longestName)) throw badName("network name", network);
  if (!isName(containerId, 128)) throw badName("container ID", containerId);
}

/** True for what the CNI specification (section 3, "Parameters") calls a valid name, of limited length. */
export function isName(text: string, length: number): boolean {
  return text.length <= length && /^[A-Za-z0-9][\w.-]*$/.test(text);
}

function badName(what: string, text: string): RuntimeError {
  const must = 'it must be letters, digits, "_", "." and "-"';
  return new RuntimeError(
    "invalid-argument",
    `write rules of iptables: ${what} ${quote(text)}: ${must}`,
  );
}

/**
 * A line for iptables-restore. Throws `internal` for control characters: such values are refused where they come from.
 */
export function ruleLine(command: string, { chain, args }: Rule): string {
  return [command, chain, ...args.map(quoteArgument)].join(" ");
}

// iptables-restore(8) splits at blanks; within double quotes a backslash takes the next character as it is.
function quoteArgument(text: string): string {
  if (/^[\w.,:/!+=%@[\]-]+$/.test(text)) return text;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
  if (/[\u0000-\u001f\u007f]/.test(text)) {
    throw new RuntimeError(
      "internal",
      `write a rule of iptables: control character in ${quote(text)}`,
    );
  }
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** A table as iptables-save prints it. */
export interface SavedTable {
  readonly chains: ReadonlySet<string>;
  /** The rules, as `-A CHAIN ...`. */
  readonly rules: readonly string[];
}

/** Reads what `iptables-save -t TABLE` printed. */
export function parseSavedTable(text: string): SavedTable {
  const lines = text.split("\n");
  const chains = lines.filter((line) => line.startsWith(":"));
  return {
    chains: new Set(chains.map((line) => line.slice(1).split(" ", 1)[0] ?? "")),
    rules: lines.filter((line) => line.startsWith("-A ")),
  };
}
