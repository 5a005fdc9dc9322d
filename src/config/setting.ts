import { posix } from "node:path";
import { ipVersion } from "../base/ip-address.ts";
import type { Options, OptionValue } from "./config.ts";
import { gidPattern, maxGid } from "./group.ts";
import { parseListenAddress } from "./listen-address.ts";

/** The result of reading a value: the value, or a description of the allowed values. */
export type Reading<T> = { readonly value: T } | { readonly allowed: string };

/** A key of the configuration file: its description, its default, and how a value is validated. */
export interface Setting<T> {
  readonly doc: string;
  readonly default: T;
  /** Whether a value can contain credentials. Errors do not show it. */
  readonly isSecret?: true;
  /** Reads a value of the TOML parser, which gives integers as bigint. */
  readonly read: (raw: unknown) => Reading<T>;
}

/** The settings of a table of the file, by their fields in the Config. */
export type Section<T> = { readonly [K in keyof T]: Setting<T[K]> };

interface About<T> {
  readonly doc: string;
  readonly default: T;
}

const ABSOLUTE = 'an absolute path without ".", ".." or a trailing slash';

// sockaddr_un has 108 bytes for the path and its terminating NUL on Linux (unix(7)).
const SOCKET_PATH_BYTES = 107;

/** A normalized absolute path, so that two paths can be compared as strings. */
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

/** The absolute path of a unix socket, short enough for the kernel. */
export function socketPath(about: About<string>): Setting<string> {
  const allowed = `${ABSOLUTE}, of at most ${SOCKET_PATH_BYTES} bytes and without "unix://"`;
  return { ...about, read: (raw) => (isSocketPath(raw) ? { value: raw } : { allowed }) };
}

/** Where a server listens, as parseListenAddress() reads it, or "" for nowhere. */
export function listenAddress(about: About<string>): Setting<string> {
  const allowed = `"HOST:PORT" with an IP address or localhost, such as "127.0.0.1:9090" or "[::1]:9090", or a socket as /PATH or unix:///PATH of at most ${SOCKET_PATH_BYTES} bytes, or "" for none`;
  const isAddress = (raw: unknown): raw is string => {
    const address = typeof raw === "string" ? parseListenAddress(raw) : undefined;
    return address !== undefined && (!("path" in address) || isSocketPath(address.path));
  };
  return {
    ...about,
    read: (raw) => (raw === "" || isAddress(raw) ? { value: raw } : { allowed }),
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

/** A program: an absolute path, or a name that is searched on PATH. */
export function program(about: About<string>): Setting<string> {
  const allowed = `a command name on PATH, or ${ABSOLUTE}`;
  return { ...about, read: (raw) => (isProgram(raw) ? { value: raw } : { allowed }) };
}

/** A program, or "" for none. */
export function optionalProgram(about: About<string>): Setting<string> {
  const allowed = `a command name on PATH, ${ABSOLUTE}, or "" for none`;
  return {
    ...about,
    read: (raw) => (raw === "" || isProgram(raw) ? { value: raw } : { allowed }),
  };
}

/** A string that matches `pattern`, which `allowed` describes. */
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
      isAddress(raw) ? { value: raw } : { allowed: "an IP address, such as 127.0.0.1 or ::1" },
  };
}

/** A group by name or by gid (a string or a number), or "" for none. */
export function group(about: About<string>): Setting<string> {
  const allowed = `a group name, a gid, or "" for none`;
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

/** A list of strings that are not empty. */
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

/** One of several words. */
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

/** An integer from `min` to `max`, both inclusive; `limits` describes them if digits are hard to read. */
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

/** A number from 0 to 1, both inclusive. */
export function ratio(about: About<number>): Setting<number> {
  return {
    ...about,
    read: (raw) => {
      const value = typeof raw === "bigint" ? Number(raw) : raw;
      return typeof value === "number" && value >= 0 && value <= 1
        ? { value }
        : { allowed: "a number from 0 to 1, such as 0.01" };
    },
  };
}

/** The URL of an HTTP server, which may contain credentials, or "" for none. */
export function httpUrl(about: About<string>): Setting<string> {
  const isUrl = (raw: unknown): raw is string =>
    typeof raw === "string" && /^https?:\/\/[^/]/.test(raw) && URL.canParse(raw);
  return {
    ...about,
    isSecret: true,
    read: (raw) =>
      raw === "" || isUrl(raw)
        ? { value: raw }
        : { allowed: 'a URL with http:// or https://, or "" for none' },
  };
}

/** HTTP headers by name. */
export function headers(
  about: About<Readonly<Record<string, string>>>,
): Setting<Readonly<Record<string, string>>> {
  const isHeader = ([name, value]: readonly [string, unknown]): boolean =>
    /^[\w!#$%&'*+.^`|~-]+$/.test(name) &&
    typeof value === "string" &&
    /^[\t\x20-\x7e]*$/.test(value);
  return {
    ...about,
    isSecret: true,
    read: (raw) =>
      isTable(raw) && Object.entries(raw).every(isHeader)
        ? { value: { ...raw } as Readonly<Record<string, string>> }
        : { allowed: "a table of HTTP headers: names, and strings of printable ASCII" },
  };
}

/** A table of strings, with any keys that are not empty. */
export function strings(
  about: About<Readonly<Record<string, string>>>,
): Setting<Readonly<Record<string, string>>> {
  const isEntry = ([key, value]: readonly [string, unknown]): boolean =>
    /^[\x21-\x7e]+$/.test(key) && typeof value === "string" && !value.includes("\0");
  return {
    ...about,
    read: (raw) =>
      isTable(raw) && Object.entries(raw).every(isEntry)
        ? { value: { ...raw } as Readonly<Record<string, string>> }
        : { allowed: "a table of strings" },
  };
}

/** true or false. */
export function flag(about: About<boolean>): Setting<boolean> {
  return {
    ...about,
    read: (raw) => (typeof raw === "boolean" ? { value: raw } : { allowed: "true or false" }),
  };
}

/** A table with any keys: the options of a shim. */
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

/** Whether a value of the TOML parser is a table; lists and dates are objects, too. */
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

function isSocketPath(raw: unknown): raw is string {
  return isAbsolute(raw) && Buffer.byteLength(raw) <= SOCKET_PATH_BYTES;
}

function isProgram(raw: unknown): raw is string {
  return isAbsolute(raw) || (typeof raw === "string" && /^[\w.+-]*[\w+-]$/.test(raw));
}

function isOptions(value: OptionValue | undefined): value is Options {
  return typeof value === "object" && !Array.isArray(value);
}

/** undefined if a part of it has no JSON form: a date, or an integer that a double would round. */
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
