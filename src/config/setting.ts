import { posix } from "node:path";
import { ipVersion } from "../base/ip-address.ts";
import type { Options, OptionValue } from "./config.ts";
import { gidPattern, maxGid } from "./group.ts";

/** The answer to reading one value: the value itself, or in words what would have been allowed. */
export type Reading<T> = { readonly value: T } | { readonly allowed: string };

/** One key of the configuration file: what it means, its default, and how a value is checked. */
export interface Setting<T> {
  readonly doc: string;
  readonly default: T;
  /** Takes what the TOML parser gave, where integers are bigint. */
  readonly read: (raw: unknown) => Reading<T>;
}

/** The settings of one table of the file, by the field of the Config they fill. */
export type Section<T> = { readonly [K in keyof T]: Setting<T[K]> };

interface About<T> {
  readonly doc: string;
  readonly default: T;
}

const ABSOLUTE = 'an absolute path without "." or ".." or a slash at its end';

// Linux' sockaddr_un has 108 bytes for the path and its closing NUL (unix(7)).
const SOCKET_PATH_BYTES = 107;

/** A path from the root, in its one normal form, so that two of them can be compared as strings. */
export function absolutePath(about: About<string>): Setting<string> {
  return { ...about, read: (raw) => (isAbsolute(raw) ? { value: raw } : { allowed: ABSOLUTE }) };
}

/** An absolute path, or "" for none. */
export function optionalPath(about: About<string>): Setting<string> {
  const allowed = `${ABSOLUTE}, or "" for none`;
  return {
    ...about,
    read: (raw) => (raw === "" || isAbsolute(raw) ? { value: raw } : { allowed }),
  };
}

/** The path of a unix socket: absolute, and short enough for the kernel. */
export function socketPath(about: About<string>): Setting<string> {
  const allowed = `${ABSOLUTE}, at most ${SOCKET_PATH_BYTES} bytes and without "unix://"`;
  const fits = (path: string): boolean => Buffer.byteLength(path) <= SOCKET_PATH_BYTES;
  return {
    ...about,
    read: (raw) => (isAbsolute(raw) && fits(raw) ? { value: raw } : { allowed }),
  };
}

/** One or more absolute paths, searched in order. */
export function absolutePaths(about: About<readonly string[]>): Setting<readonly string[]> {
  const allowed = `a list of one or more paths, each ${ABSOLUTE}`;
  return {
    ...about,
    read: (raw) =>
      Array.isArray(raw) && raw.length > 0 && raw.every(isAbsolute) ? { value: raw } : { allowed },
  };
}

/** A list of absolute paths, which may be empty. */
export function absolutePathsOrNone(about: About<readonly string[]>): Setting<readonly string[]> {
  const allowed = `a list of paths, each ${ABSOLUTE}, or [] for none`;
  return {
    ...about,
    read: (raw) => (Array.isArray(raw) && raw.every(isAbsolute) ? { value: raw } : { allowed }),
  };
}

/** A program: an absolute path, or a bare name that is looked up on PATH. */
export function program(about: About<string>): Setting<string> {
  const allowed = `a command name that is looked up on PATH, or ${ABSOLUTE}`;
  return { ...about, read: (raw) => (isProgram(raw) ? { value: raw } : { allowed }) };
}

/** A program, or "" for none. */
export function optionalProgram(about: About<string>): Setting<string> {
  const allowed = `a command name that is looked up on PATH, ${ABSOLUTE}, or "" for none`;
  return {
    ...about,
    read: (raw) => (raw === "" || isProgram(raw) ? { value: raw } : { allowed }),
  };
}

/** A string that matches `pattern`; `allowed` says the same in words. */
export function text(
  about: About<string> & { readonly pattern: RegExp; readonly allowed: string },
): Setting<string> {
  const { pattern, allowed } = about;
  return {
    doc: about.doc,
    default: about.default,
    read: (raw) => (typeof raw === "string" && pattern.test(raw) ? { value: raw } : { allowed }),
  };
}

/** An IP address of either version, without a port. */
export function ipAddress(about: About<string>): Setting<string> {
  const isAddress = (raw: unknown): raw is string =>
    typeof raw === "string" && ipVersion(raw) !== undefined;
  return {
    ...about,
    read: (raw) =>
      isAddress(raw) ? { value: raw } : { allowed: "an IP address, as 127.0.0.1 or ::1" },
  };
}

/** A group, by name or by gid, which may be written as a number; or "" for none. */
export function group(about: About<string>): Setting<string> {
  const allowed = `a group's name, a gid, or "" for none`;
  const isGid = (raw: bigint): boolean => raw >= 0 && raw <= maxGid;
  const isGroup = (raw: unknown): raw is string =>
    typeof raw === "string" &&
    (gidPattern.test(raw) ? isGid(BigInt(raw)) : /^([A-Za-z_][\w.-]*\$?)?$/.test(raw));
  return {
    ...about,
    read: (raw) => {
      const value = typeof raw === "bigint" && isGid(raw) ? String(raw) : raw;
      return isGroup(value) ? { value } : { allowed };
    },
  };
}

/** A list of strings, none of them empty. */
export function texts(about: About<readonly string[]>): Setting<readonly string[]> {
  const isText = (item: unknown): item is string => typeof item === "string" && item !== "";
  return {
    ...about,
    read: (raw) =>
      Array.isArray(raw) && raw.every(isText)
        ? { value: raw }
        : { allowed: "a list of strings that are not empty" },
  };
}

/** One of a few words. */
export function choice<T extends string>(
  about: About<T> & { readonly of: readonly T[] },
): Setting<T> {
  const words = about.of.map((word) => `"${word}"`);
  const allowed = words.length === 1 ? `${words[0]}` : `one of ${words.join(", ")}`;
  return {
    doc: about.doc,
    default: about.default,
    read: (raw) => {
      const value = about.of.find((word) => word === raw);
      return value === undefined ? { allowed } : { value };
    },
  };
}

/** A whole number within limits, both inclusive; `limits` words them when digits read badly. */
export function integer(
  about: About<number> & { readonly min: number; readonly max: number; readonly limits?: string },
): Setting<number> {
  const { min, max } = about;
  const allowed = `an integer ${about.limits ?? `from ${min} to ${max}`}`;
  return {
    doc: about.doc,
    default: about.default,
    read: (raw) =>
      typeof raw === "bigint" && raw >= min && raw <= max ? { value: Number(raw) } : { allowed },
  };
}

/** true or false. */
export function flag(about: About<boolean>): Setting<boolean> {
  return {
    ...about,
    read: (raw) => (typeof raw === "boolean" ? { value: raw } : { allowed: "true or false" }),
  };
}

/** A table whose keys davit does not know: the options of a shim. */
export function options(about: About<Options>): Setting<Options> {
  const allowed = "a table of strings, numbers, booleans, lists and tables";
  return {
    ...about,
    read: (raw) => {
      const value = isTable(raw) ? parseOption(raw) : undefined;
      return isOptions(value) ? { value } : { allowed };
    },
  };
}

/** True for what the TOML parser makes of a table; lists and dates are objects too. */
export function isTable(raw: unknown): raw is Readonly<Record<string, unknown>> {
  return typeof raw === "object" && raw !== null && !Array.isArray(raw) && !(raw instanceof Date);
}

function isAbsolute(raw: unknown): raw is string {
  return (
    typeof raw === "string" &&
    raw.startsWith("/") &&
    raw !== "/" &&
    !raw.endsWith("/") &&
    !raw.includes("\0") &&
    posix.normalize(raw) === raw
  );
}

function isProgram(raw: unknown): raw is string {
  return isAbsolute(raw) || (typeof raw === "string" && /^[\w.+-]*[\w+-]$/.test(raw));
}

function isOptions(value: OptionValue | undefined): value is Options {
  return typeof value === "object" && !Array.isArray(value);
}

/** undefined when something in it has no JSON form: a date, or an integer that a double would round. */
function parseOption(raw: unknown): OptionValue | undefined {
  if (typeof raw === "string" || typeof raw === "number" || typeof raw === "boolean") return raw;
  if (typeof raw === "bigint") return Number.isSafeInteger(Number(raw)) ? Number(raw) : undefined;
  if (Array.isArray(raw)) {
    const items = raw.map(parseOption);
    return items.every((item) => item !== undefined) ? items : undefined;
  }
  if (!isTable(raw)) return undefined;
  const entries: [string, OptionValue][] = [];
  for (const [name, item] of Object.entries(raw)) {
    const value = parseOption(item);
    if (value === undefined) return undefined;
    entries.push([name, value]);
  }
  return Object.fromEntries(entries);
}
