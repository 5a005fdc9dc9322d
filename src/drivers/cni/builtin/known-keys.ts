import { isAbsolute, normalize } from "node:path";
import { quoteValue } from "../../../base/quote.ts";
import { isObject, type JsonObject } from "../conflist.ts";

/** Why a value cannot be carried out here; undefined when it can. */
type ValueCheck = (value: unknown) => string | undefined;

/** The keys of an object that are known, with what may be in them. */
export type KnownKeys = Readonly<Record<string, ValueCheck>>;

/** Keys that every plugin has (specification, section 1). */
export const commonKeys: KnownKeys = {
  type: isText,
  name: isText,
  cniVersion: isText,
  // Arguments of an attachment: each plugin takes from them what it knows.
  runtimeConfig: (value) => (isObject(value) ? undefined : "must be an object"),
};

/** The first key of an object that is not known, or whose value is not; undefined without one. */
export function obstacleIn(object: JsonObject, known: KnownKeys, prefix = ""): string | undefined {
  for (const [key, value] of Object.entries(object)) {
    // Of its own, so that "constructor" is not a known key.
    const check = Object.hasOwn(known, key) ? known[key] : undefined;
    if (check === undefined) return `it does not know key "${prefix}${key}"`;
    const why = check(value);
    if (why !== undefined) return `"${prefix}${key}" ${why}, got ${quoteValue(value)}`;
  }
  return undefined;
}

export function isText(value: unknown): string | undefined {
  return typeof value === "string" ? undefined : "must be a text";
}

export function isFlag(value: unknown): string | undefined {
  return typeof value === "boolean" ? undefined : "must be true or false";
}

/** A number of bytes that the kernel takes; 0 for the default. */
export function isMtu(value: unknown): string | undefined {
  const isFine = Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535;
  return isFine ? undefined : "must be a whole number up to 65535";
}

/** A name of a link (dev_valid_name() of the kernel), which is also a name in /proc/sys/net. */
export function isLinkName(value: unknown): string | undefined {
  const isFine =
    typeof value === "string" &&
    /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,14}$/.test(value) &&
    value !== "all" &&
    value !== "default";
  return isFine ? undefined : "must be a name of a link";
}

export function isMac(value: unknown): string | undefined {
  const isFine = typeof value === "string" && /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(value);
  return isFine ? undefined : 'must be like "0a:58:0a:57:00:02"';
}

export function isPath(value: unknown): string | undefined {
  const isFine =
    typeof value === "string" &&
    isAbsolute(value) &&
    normalize(value) === value &&
    !value.includes("\0");
  return isFine ? undefined : "must be an absolute path";
}

function isTexts(value: unknown): string | undefined {
  const isFine = Array.isArray(value) && value.every((item) => typeof item === "string");
  return isFine ? undefined : "must be a list of texts";
}

/** A check for an object with these keys. */
export function isObjectOf(known: KnownKeys): ValueCheck {
  return (value) => (isObject(value) ? obstacleIn(value, known) : "must be an object");
}

/** Specification, section 1, "dns". */
export const isDns = isObjectOf({
  nameservers: isTexts,
  domain: isText,
  search: isTexts,
  options: isTexts,
});
