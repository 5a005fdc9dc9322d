import { RuntimeError } from "../../../base/errors.ts";
import type { RegistryAuth } from "../../../core/image/index.ts";
import { type Credentials, readAuth, serverName } from "../credentials.ts";
import { asRecord } from "../failure.ts";
import { helperName } from "../hosts-file.ts";
import { parseJson } from "./json-text.ts";
import { type ImagePattern, matchesImage, parseImagePattern } from "./match-image.ts";

/** The largest config.json that is read. Bytes. */
export const maxDockerConfigBytes = 1024 * 1024;
const maxEntries = 10_000;

/** The parts of a Docker config.json (or a containers-auth.json(5)) that have credentials. */
export interface DockerConfig {
  /** By host and path in one spelling: `registry.example:5000/team`. */
  readonly auths: ReadonlyMap<string, Credentials>;
  /** The auths whose key is a pattern, as kubelet has them: the longest first. */
  readonly patterns: readonly { readonly pattern: ImagePattern; readonly found: Credentials }[];
  /** By host. */
  readonly helpers: ReadonlyMap<string, Helper>;
  /** `NAME` of the program for all other hosts. */
  readonly store: string | undefined;
}

/** A program `docker-credential-NAME`, and what it is asked for. */
export interface Helper {
  readonly name: string;
  readonly server: string;
}

/** What Docker calls its own registry when it asks a program. */
const dockerServer = "https://index.docker.io/v1/";

/**
 * Reads a config.json. `failed-precondition` with file and line or key for one that cannot be used; the
 * message has nothing of a value.
 */
export function parseDockerConfig(text: string, file: string): DockerConfig {
  const parsed = parseJson(text);
  if ("line" in parsed) throw refusal(file, `line ${parsed.line} is not valid JSON`);
  const raw = asRecord(parsed.value);
  if (raw === undefined) throw refusal(file, "it must be a JSON object");
  const auths = new Map<string, Credentials>();
  const patterns: { key: string; pattern: ImagePattern; found: Credentials }[] = [];
  for (const [key, value] of entriesOf(raw, "auths", file)) {
    const found = readEntry(key, value, file);
    if (found.kind === "none") continue;
    const name = nameOf(key);
    const pattern = name.includes("*") ? parseImagePattern(name) : undefined;
    if (pattern !== undefined) patterns.push({ key: name, pattern, found });
    // Two spellings of one name: the whole URL is the older one.
    else if (!auths.has(name) || name === key) auths.set(name, found);
  }
  patterns.sort((a, b) => b.key.length - a.key.length);
  return { auths, patterns, helpers: readHelpers(raw, file), store: readStore(raw, file) };
}

/**
 * The credentials in `auths` for an image without tag and digest (`registry.example/team/app`): of its
 * whole name, else of the longest path above it, else of its host, else of a pattern.
 */
export function authOf({ auths, patterns }: DockerConfig, image: string): Credentials | undefined {
  for (let name = image; ; name = name.slice(0, name.lastIndexOf("/"))) {
    const found = auths.get(name);
    if (found !== undefined) return found;
    if (!name.includes("/")) break;
  }
  return patterns.find(({ pattern }) => matchesImage(pattern, image))?.found;
}

/** The program that has the credentials for a host: its own, not the one for all others. */
export function helperOf({ helpers }: DockerConfig, host: string): Helper | undefined {
  return helpers.get(host);
}

/** What a program for all hosts is asked for. */
export function helperServer(host: string): string {
  return host === "docker.io" ? dockerServer : host;
}

function readEntry(key: string, value: unknown, file: string): Credentials {
  const at = `auths.${JSON.stringify(key)}`;
  const entry = asRecord(value);
  if (entry === undefined) throw refusal(file, `key ${at} must be an object`);
  const text = (name: string): string => {
    const part = entry[name] ?? "";
    if (typeof part === "string") return part;
    throw refusal(file, `key ${at}.${name} must be a text`);
  };
  const identityToken = text("identitytoken");
  // Beside an identity token, user and password are fillers.
  const password = identityToken === "";
  const auth: RegistryAuth = {
    username: password ? text("username") : "",
    password: password ? text("password") : "",
    auth: password ? text("auth") : "",
    serverAddress: "",
    identityToken,
    registryToken: text("registrytoken"),
  };
  try {
    return readAuth(auth, `"${file}" for ${JSON.stringify(key)}`);
  } catch {
    throw refusal(file, `key ${at}.auth must be base64 of USERNAME:PASSWORD`);
  }
}

function readHelpers(raw: Readonly<Record<string, unknown>>, file: string): Map<string, Helper> {
  const helpers = new Map<string, Helper>();
  for (const [key, value] of entriesOf(raw, "credHelpers", file)) {
    const name = readHelperName(value, `credHelpers.${JSON.stringify(key)}`, file);
    const host = nameOf(key);
    helpers.set(host, { name, server: key.includes("://") ? key : helperServer(host) });
  }
  return helpers;
}

function readStore(raw: Readonly<Record<string, unknown>>, file: string): string | undefined {
  const value = raw["credsStore"] ?? "";
  return value === "" ? undefined : readHelperName(value, "credsStore", file);
}

function readHelperName(value: unknown, key: string, file: string): string {
  if (typeof value === "string" && helperName.test(value)) return value;
  throw refusal(file, `key ${key} must be NAME of a program "docker-credential-NAME"`);
}

function entriesOf(
  raw: Readonly<Record<string, unknown>>,
  key: string,
  file: string,
): readonly (readonly [string, unknown])[] {
  const record = asRecord(raw[key] ?? {});
  if (record === undefined) throw refusal(file, `key ${key} must be an object`);
  const entries = Object.entries(record);
  if (entries.length <= maxEntries) return entries;
  throw refusal(file, `key ${key} has ${entries.length} entries, more than ${maxEntries}`);
}

/** Host and path of a key in one spelling: keys may be URLs, with a version of the API at their end. */
function nameOf(key: string): string {
  const address = key.replace(/^https?:\/\//i, "");
  const slash = address.indexOf("/");
  const host = serverName(address);
  if (slash < 0) return host;
  const path = address
    .slice(slash)
    .replace(/\/+$/, "")
    .replace(/^\/v[12]$/, "");
  return `${host}${path}`;
}

function refusal(file: string, why: string): RuntimeError {
  return new RuntimeError("failed-precondition", `read "${file}": ${why}`);
}
