import { isMap, LineCounter, parseDocument } from "yaml";

import { RuntimeError } from "../../../base/errors.ts";
import { parseDuration } from "../duration.ts";
import { asRecord } from "../failure.ts";
import { type ImagePattern, parseImagePattern } from "./match-image.ts";

/** The largest file that is read. Bytes. */
export const maxProviderConfigBytes = 1024 * 1024;
const maxProviders = 100;

/** A program that has credentials for some images: kubelet's CredentialProvider. */
export interface Provider {
  /** Of the program in the directory of the programs. */
  readonly name: string;
  readonly patterns: readonly ImagePattern[];
  readonly defaultLifeMs: number;
  /** Of the protocol. */
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** It needs a service account token, which only kubelet has: it is never asked. */
  readonly needsToken: boolean;
}

type Raw = Readonly<Record<string, unknown>>;

const configVersions = ["v1", "v1beta1", "v1alpha1"].map((it) => `kubelet.config.k8s.io/${it}`);
const apiVersions = ["v1", "v1beta1", "v1alpha1"].map(
  (it) => `credentialprovider.kubelet.k8s.io/${it}`,
);
const providerKeys = [
  "name",
  "matchImages",
  "defaultCacheDuration",
  "apiVersion",
  "args",
  "env",
  "tokenAttributes",
];

/**
 * Reads kubelet's CredentialProviderConfig, in YAML or JSON, with kubelet's rules.
 * `failed-precondition` with file and line or key for anything else.
 */
export function parseProviderConfig(text: string, file: string): readonly Provider[] {
  const raw = parseYaml(text, file);
  const reader = new Reader(file);
  reader.refuseOthers(raw, "", ["apiVersion", "kind", "providers"]);
  if (raw["kind"] !== "CredentialProviderConfig") {
    throw reader.refusal("kind", 'must be "CredentialProviderConfig"');
  }
  reader.oneOf(raw["apiVersion"], "apiVersion", configVersions);
  const list = raw["providers"];
  if (!Array.isArray(list) || list.length === 0 || list.length > maxProviders) {
    throw reader.refusal("providers", `must be a list of 1 to ${maxProviders} providers`);
  }
  const providers = list.map((one, index) => readProvider(one, `providers[${index}]`, reader));
  const names = providers.map(({ name }) => name);
  const second = names.findIndex((name, index) => names.indexOf(name) !== index);
  if (second >= 0) throw reader.refusal(`providers[${second}].name`, "is there twice");
  return providers;
}

function readProvider(value: unknown, at: string, reader: Reader): Provider {
  const raw = asRecord(value);
  if (raw === undefined) throw reader.refusal(at, "must be a map");
  reader.refuseOthers(raw, `${at}.`, providerKeys);
  const name = reader.text(raw["name"], `${at}.name`);
  if (!/^[^\s/\\]{1,255}$/.test(name) || name === "." || name === "..") {
    throw reader.refusal(`${at}.name`, "must be the name of a file, without a slash or a space");
  }
  const matches = raw["matchImages"];
  if (!Array.isArray(matches) || matches.length === 0) {
    throw reader.refusal(`${at}.matchImages`, "must be a list of one or more patterns");
  }
  const life = parseDuration(
    reader.text(raw["defaultCacheDuration"], `${at}.defaultCacheDuration`),
  );
  if (life === undefined) {
    throw reader.refusal(`${at}.defaultCacheDuration`, 'must be a duration as "12h" or "0s"');
  }
  return {
    name,
    patterns: matches.map((one, index) => {
      const key = `${at}.matchImages[${index}]`;
      const pattern = parseImagePattern(reader.text(one, key));
      if (pattern !== undefined) return pattern;
      throw reader.refusal(key, "must be HOST[:PORT][/PATH], with * in HOST only");
    }),
    defaultLifeMs: life,
    apiVersion: reader.oneOf(raw["apiVersion"], `${at}.apiVersion`, apiVersions),
    args: reader.texts(raw["args"], `${at}.args`),
    env: readEnv(raw["env"], `${at}.env`, reader),
    needsToken: raw["tokenAttributes"] !== undefined && raw["tokenAttributes"] !== null,
  };
}

function readEnv(value: unknown, at: string, reader: Reader): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  if (!Array.isArray(value)) throw reader.refusal(at, "must be a list of name and value");
  const entries = value.map((one, index) => {
    const raw = asRecord(one) ?? {};
    const name = reader.text(raw["name"], `${at}[${index}].name`);
    const text = raw["value"] ?? "";
    if (typeof text !== "string") throw reader.refusal(`${at}[${index}].value`, "must be a text");
    if (!/^[^=\0]+$/.test(name) || text.includes("\0")) {
      throw reader.refusal(`${at}[${index}]`, "cannot be in an environment");
    }
    return [name, text] as const;
  });
  return Object.fromEntries(entries);
}

/** Reads values, each with its own refusal. No refusal shows a value: `env` and `args` may have secrets. */
class Reader {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  refusal(key: string, why: string): RuntimeError {
    return new RuntimeError("failed-precondition", `read "${this.#file}": key ${key} ${why}`);
  }

  refuseOthers(raw: Raw, at: string, known: readonly string[]): void {
    const other = Object.keys(raw).find((key) => !known.includes(key));
    if (other === undefined) return;
    throw this.refusal(
      `${at}${JSON.stringify(other)}`,
      `is unknown here, known are ${known.join(", ")}`,
    );
  }

  text(value: unknown, key: string): string {
    if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
    throw this.refusal(key, "must be a text");
  }

  texts(value: unknown, key: string): readonly string[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) throw this.refusal(key, "must be a list of texts");
    return value.map((one, index) => this.text(one, `${key}[${index}]`));
  }

  oneOf(value: unknown, key: string, allowed: readonly string[]): string {
    const found = allowed.find((one) => one === value);
    if (found !== undefined) return found;
    throw this.refusal(key, `must be one of ${allowed.map((one) => `"${one}"`).join(", ")}`);
  }
}

function parseYaml(text: string, file: string): Raw {
  const lines = new LineCounter();
  const refuse = (why: string): RuntimeError =>
    new RuntimeError("failed-precondition", `read "${file}": ${why}`);
  const document = unlessTooDeep(() =>
    // Without pretty errors, which quote the text.
    parseDocument(text, { lineCounter: lines, prettyErrors: false, logLevel: "error" }),
  );
  if (document === undefined) throw refuse("it is nested too deeply");
  const [error] = document.errors;
  if (error !== undefined) {
    throw refuse(`line ${lines.linePos(error.pos[0]).line} is not valid YAML (${error.code})`);
  }
  if (!isMap(document.contents)) throw refuse("it must be a map");
  try {
    // Aliases could make a short text large.
    return document.toJS({ maxAliasCount: 100 }) as Raw;
  } catch {
    throw refuse("it has too many aliases");
  }
}

/** The parser of YAML is recursive: `undefined` for a text that is nested too deeply for it. */
function unlessTooDeep<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
