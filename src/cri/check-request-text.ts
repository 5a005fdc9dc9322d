import { RuntimeError } from "../base/errors.ts";

// Unicode's category Cc: U+0000 to U+001F, U+007F to U+009F.
const control = /\p{Cc}/u;

/** Fields with input of a program, where a newline is as valid as a letter. */
const anyText: ReadonlySet<string> = new Set(["command", "args", "cmd"]);

/** Messages whose fields are secrets, which may have any characters. */
const anyMessage: ReadonlySet<string> = new Set(["runtime.v1.AuthConfig"]);

/**
 * Rejects a request with a control character where it could do harm: `invalid-argument` with the name of
 * the field. The error does not show the value, which may be a secret.
 *
 * - NUL in any text. For the kernel, conmon, the OCI runtime and the plugins a text ends at a NUL, so
 *   they would do something else than what was requested and checked.
 * - Any control character in names, ids, paths and keys, which become arguments, file names and log
 *   lines. Commands, values of maps (labels, annotations, sysctls) and credentials may have them.
 *
 * Values of environment variables are bytes in the CRI and are checked with the container's config.
 */
export function checkRequestText(method: string, request: object): void {
  const found = findInMessage(request);
  if (found === undefined) return;
  const { field, text, at } = found;
  const codePoint = (text.codePointAt(at) ?? 0).toString(16).toUpperCase().padStart(4, "0");
  throw new RuntimeError(
    "invalid-argument",
    `read ${method}: ${field} has a control character (U+${codePoint} at position ${at}); send it without`,
  );
}

interface Found {
  readonly field: string;
  readonly text: string;
  /** The index of the first invalid character. */
  readonly at: number;
}

function findInMessage(message: object): Found | undefined {
  const isFree = anyMessage.has(String((message as { $typeName?: unknown }).$typeName));
  for (const [key, value] of Object.entries(message)) {
    if (key.startsWith("$")) continue; // the message's type, and the fields that are not known
    const found = findInValue(value, isFree || anyText.has(key));
    if (found !== undefined) return inside(fieldName(key), found);
  }
  return undefined;
}

function findInValue(value: unknown, isFree: boolean): Found | undefined {
  if (typeof value === "string") {
    const at = isFree ? value.indexOf("\0") : value.search(control);
    return at < 0 ? undefined : { field: "", text: value, at };
  }
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return undefined;
  if (Array.isArray(value)) return findInList(value, isFree);
  return "$typeName" in value ? findInMessage(value) : findInMap(value);
}

function findInList(list: readonly unknown[], isFree: boolean): Found | undefined {
  for (const [index, item] of list.entries()) {
    const found = findInValue(item, isFree);
    if (found !== undefined) return { ...found, field: `[${index}]${dotted(found.field)}` };
  }
  return undefined;
}

function findInMap(map: object): Found | undefined {
  for (const [key, value] of Object.entries(map)) {
    const at = key.search(control);
    if (at >= 0) return { field: "[key]", text: key, at };
    const found = findInValue(value, true);
    if (found !== undefined) return inside(`[${JSON.stringify(key)}]`, found);
  }
  return undefined;
}

function inside(name: string, found: Found): Found {
  return { ...found, field: name + dotted(found.field) };
}

function dotted(field: string): string {
  return field === "" || field.startsWith("[") ? field : `.${field}`;
}

/** The name of a field in the protocol, for example `log_path` for `logPath`. */
function fieldName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
