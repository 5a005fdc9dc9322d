import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import { systemError } from "../../../base/system-error.ts";
import type { ImageReference } from "../../../core/image/index.ts";
import { fileState, isMissing, readBounded } from "./bounded-file.ts";
import { scopesOf } from "./policy.ts";

const maxFiles = 1000;
const maxFileBytes = 1024 * 1024;

/** Where signatures are when no file names a place, as with containers/image. */
const builtInStore = "file:///var/lib/containers/sigstore";

/** The configuration sections of a directory of containers-registries.d(5), by what they are for. */
interface Sections {
  readonly fallback: string | undefined;
  /** By scope. */
  readonly stores: ReadonlyMap<string, string>;
}

/**
 * The address of the store with an image's GPG signatures (containers-registries.d(5), lookaside): that of the most
 * specific scope which names one. `failed-precondition` for a file that cannot be used.
 */
export async function signatureStore(directory: string, reference: ImageReference): Promise<URL> {
  const { fallback, stores } = await readSections(directory);
  const found = scopesOf(reference).find((scope) => stores.has(scope));
  const text = (found === undefined ? fallback : stores.get(found)) ?? builtInStore;
  const url = URL.parse(text);
  if (url !== null && ["file:", "http:", "https:"].includes(url.protocol)) return url;
  throw unusable(directory, `the lookaside of ${found ?? "default-docker"} is not an address`);
}

/** A text that changes when the files of the directory do. */
export async function registriesState(directory: string): Promise<string> {
  const paths = await filesOf(directory);
  return (await Promise.all(paths.map(fileState))).join("\n");
}

async function readSections(directory: string): Promise<Sections> {
  const stores = new Map<string, string>();
  const origins = new Map<string, string>();
  let fallback: string | undefined;
  for (const path of await filesOf(directory)) {
    const claim = (scope: string): void => {
      const other = origins.get(scope);
      if (other !== undefined) throw unusable(path, `"${scope}" is also in "${other}"`);
      origins.set(scope, path);
    };
    const file = await parseFile(path);
    if (file["default-docker"] !== undefined && file["default-docker"] !== null) {
      claim("default-docker");
      fallback = storeOf(mapping(file["default-docker"], path, "default-docker"), path);
    }
    for (const [scope, section] of Object.entries(mapping(file["docker"] ?? {}, path, "docker"))) {
      claim(scope);
      const store = storeOf(mapping(section ?? {}, path, `docker."${scope}"`), path);
      if (store !== undefined) stores.set(scope, store);
    }
  }
  return { fallback, stores };
}

type Mapping = Readonly<Record<string, unknown>>;

async function parseFile(path: string): Promise<Mapping> {
  const text = (await readBounded(path, maxFileBytes)).toString("utf8");
  const { parse } = await import("yaml");
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0, prettyErrors: true });
  } catch (cause) {
    throw unusable(path, `it is not YAML: ${messageOf(cause).split("\n")[0]?.slice(0, 200) ?? ""}`);
  }
  return mapping(value ?? {}, path, "it");
}

/** `sigstore` is the former name of `lookaside`. */
function storeOf(section: Mapping, path: string): string | undefined {
  for (const key of ["lookaside", "sigstore"]) {
    const value = section[key];
    if (value === undefined || value === null || value === "") continue;
    if (typeof value === "string") return value;
    throw unusable(path, `"${key}" must be a text`);
  }
  return undefined;
}

function mapping(value: unknown, path: string, what: string): Mapping {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Mapping;
  throw unusable(path, `${what} must be a mapping`);
}

async function filesOf(directory: string): Promise<readonly string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (cause) {
    if (isMissing(cause)) return [];
    throw systemError(`read "${directory}"`, cause);
  }
  const files = names.filter((name) => name.endsWith(".yaml")).sort();
  if (files.length <= maxFiles) return files.map((name) => join(directory, name));
  throw unusable(directory, `it has ${files.length} files, more than ${maxFiles}`);
}

function unusable(path: string, why: string): RuntimeError {
  return new RuntimeError("failed-precondition", `read "${path}": ${why}`);
}
