import { parse, TomlError } from "smol-toml";

import { RuntimeError } from "../../base/errors.ts";
import { parseDuration } from "./duration.ts";
import { asRecord } from "./failure.ts";

/** What a host may be asked for: `resolve` a tag to a digest, `pull` by digest, `push`. */
export type Capability = "pull" | "resolve" | "push";

/** A host as `hosts.toml` writes it. Paths are as written. */
export interface HostEntry {
  /** Undefined for the file's top level without `server`: the registry's own address. */
  readonly url: URL | undefined;
  readonly capabilities: readonly Capability[];
  readonly caFiles: readonly string[];
  /** A key file that is undefined: the key is in the certificate's file. */
  readonly clientFiles: readonly { readonly cert: string; readonly key: string | undefined }[];
  readonly skipVerify: boolean | undefined;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** The path of the URL is the whole API root: no `/v2` is added. */
  readonly overridePath: boolean;
  readonly dialTimeoutMs: number | undefined;
  /** davit's own: a Docker config.json with the credentials of the host. */
  readonly dockerConfig: string | undefined;
  /** davit's own: `NAME` of the program `docker-credential-NAME` that has them. */
  readonly credentialHelper: string | undefined;
}

const hostKeys = [
  "capabilities",
  "ca",
  "client",
  "skip_verify",
  "header",
  "override_path",
  "dial_timeout",
  "docker_config",
  "credential_helper",
];
const allCapabilities: readonly Capability[] = ["pull", "resolve", "push"];

/** What may follow `docker-credential-` in the name of a program. */
export const helperName = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

type Table = Readonly<Record<string, unknown>>;

/**
 * Reads a `hosts.toml` as containerd has it, with two keys more that containerd ignores: the [host]
 * tables in the order of the file, then the top level. `failed-precondition` with file and key for anything that it does not know, where
 * containerd would continue without the file and ask hosts that were not intended.
 */
export function parseHostsFile(text: string, file: string): readonly HostEntry[] {
  const raw = parseToml(text, file);
  const top = new TableReader(raw, "", file);
  top.refuseOthers([...hostKeys, "server", "host"]);
  const hosts = Object.entries(top.table("host"));
  return [
    ...hosts.map(([url, table]) => {
      const key = `host.${JSON.stringify(url)}`;
      const record = asRecord(table);
      if (record === undefined) throw refusal(file, key, "must be a table");
      const reader = new TableReader(record, `${key}.`, file);
      reader.refuseOthers(hostKeys);
      return readEntry(reader, parseUrl(url, key, file));
    }),
    readEntry(top, top.has("server") ? parseUrl(top.text("server"), "server", file) : undefined),
  ];
}

function readEntry(reader: TableReader, url: URL | undefined): HostEntry {
  return {
    url,
    capabilities: reader.capabilities(),
    caFiles: reader.texts("ca"),
    clientFiles: reader.clientFiles(),
    skipVerify: reader.flag("skip_verify"),
    headers: reader.headers(),
    overridePath: reader.flag("override_path") ?? false,
    dialTimeoutMs: reader.duration("dial_timeout"),
    dockerConfig: reader.has("docker_config") ? reader.text("docker_config") : undefined,
    credentialHelper: reader.helper("credential_helper"),
  };
}

/** Reads the keys of one table, each with its own refusal. */
class TableReader {
  readonly #raw: Table;
  readonly #at: string;
  readonly #file: string;

  constructor(raw: Table, at: string, file: string) {
    this.#raw = raw;
    this.#at = at;
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#raw[key] !== undefined;
  }

  refuseOthers(known: readonly string[]): void {
    const other = Object.keys(this.#raw).find((key) => !known.includes(key));
    if (other === undefined) return;
    throw this.#refusal(other, `is unknown here, known are ${known.join(", ")}`);
  }

  text(key: string): string {
    const value = this.#raw[key];
    if (typeof value === "string" && value !== "") return value;
    throw this.#refusal(key, "must be a text");
  }

  table(key: string): Table {
    const value = this.#raw[key];
    if (value === undefined) return {};
    const record = asRecord(value);
    if (record === undefined) throw this.#refusal(key, "must be a table");
    return record;
  }

  flag(key: string): boolean | undefined {
    const value = this.#raw[key];
    if (value === undefined || typeof value === "boolean") return value;
    throw this.#refusal(key, "must be true or false");
  }

  /** One text or a list of them. */
  texts(key: string): readonly string[] {
    const value = this.#raw[key];
    if (value === undefined) return [];
    const list = readTexts(value);
    if (list === undefined) throw this.#refusal(key, "must be a text or a list of texts");
    return list;
  }

  capabilities(): readonly Capability[] {
    const given = this.texts("capabilities").map((word) => word.toLowerCase());
    const known = allCapabilities.filter((word) => given.includes(word));
    const unknown = given.find((word) => !known.some((other) => other === word));
    if (unknown !== undefined) {
      const allowed = `"pull", "resolve" and "push", got ${JSON.stringify(unknown)}`;
      throw this.#refusal("capabilities", `may hold ${allowed}`);
    }
    return known.length === 0 ? allCapabilities : known;
  }

  clientFiles(): HostEntry["clientFiles"] {
    const value = this.#raw["client"];
    if (value === undefined) return [];
    const items: readonly unknown[] = Array.isArray(value) ? value : [value];
    return items.map((item) => {
      const [cert, key, ...more] = readTexts(item) ?? [];
      if (cert !== undefined && more.length === 0) {
        if (typeof item === "string" || key !== undefined) return { cert, key };
      }
      throw this.#refusal("client", "must be a file, a list of files or a list of [CERT, KEY]");
    });
  }

  headers(): HostEntry["headers"] {
    const entries = Object.entries(this.table("header")).map(([name, value]) => {
      const list = readTexts(value);
      const key = `header.${JSON.stringify(name)}`;
      if (list === undefined) throw this.#refusal(key, "must be a text or a list of texts");
      try {
        const { validateHeaderName, validateHeaderValue } = process.getBuiltinModule("node:http");
        validateHeaderName(name);
        for (const text of list) validateHeaderValue(name, text);
      } catch {
        throw this.#refusal(key, "cannot be sent: it holds letters that HTTP does not allow");
      }
      return [name.toLowerCase(), list] as const;
    });
    return Object.fromEntries(entries);
  }

  helper(key: string): string | undefined {
    if (!this.has(key)) return undefined;
    const name = this.text(key);
    if (helperName.test(name)) return name;
    throw this.#refusal(key, 'must be NAME of a program "docker-credential-NAME"');
  }

  duration(key: string): number | undefined {
    if (!this.has(key)) return undefined;
    const ms = parseDuration(this.text(key)) ?? 0;
    if (ms <= 0) throw this.#refusal(key, 'must be a duration as "30s" or "1m30s"');
    return ms;
  }

  #refusal(key: string, why: string): RuntimeError {
    return refusal(this.#file, `${this.#at}${key}`, why);
  }
}

function refusal(file: string, key: string, why: string): RuntimeError {
  return new RuntimeError("failed-precondition", `read "${file}": key ${key} ${why}`);
}

function parseToml(text: string, file: string): Table {
  try {
    return parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    // The parser's message continues with an excerpt of the file; its first line is the reason.
    const [reason = ""] = cause.message.split("\n");
    const message = reason.replace(/^Invalid TOML document: /, "");
    throw new RuntimeError(
      "failed-precondition",
      `read "${file}": line ${cause.line} is not valid TOML: ${message}`,
      { cause },
    );
  }
}

function parseUrl(text: string, key: string, file: string): URL {
  // As in containerd, a host without scheme is asked by HTTPS.
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw refusal(file, key, "must be a URL as https://HOST[:PORT][/PATH]");
  }
  if (url.username !== "" || url.password !== "") {
    throw refusal(file, key.replace(/\/\/[^"]*@/, "//***@"), "must not hold a password");
  }
  if (url.search !== "" || url.hash !== "") {
    throw refusal(file, key, "must not have a query or a fragment");
  }
  return url;
}

function readTexts(value: unknown): readonly string[] | undefined {
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return undefined;
  const texts = value.filter((item): item is string => typeof item === "string");
  return texts.length === value.length ? texts : undefined;
}
