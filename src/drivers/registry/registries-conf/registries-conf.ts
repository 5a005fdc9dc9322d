import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";

import { messageOf, RuntimeError } from "../../../base/errors.ts";
import {
  formatReference,
  type ImageNames,
  type ImageReference,
  parseReference,
  repositoryName,
  shortNameOf,
} from "../../../core/image/index.ts";
import { codeOf } from "../failure.ts";
import type { Capability } from "../hosts-file.ts";
import { ParsedFile } from "../parsed-file.ts";
import { hostByName, type RegistryHost } from "../registry-hosts.ts";
import {
  maxRegistriesBytes,
  type MirrorEntry,
  parseRegistriesFile,
  type RegistriesFile,
  type RegistryEntry,
} from "./registries-file.ts";

const maxDropIns = 1000;
const all: readonly Capability[] = ["pull", "resolve", "push"];

/** What all files say together. */
interface Registries {
  readonly searched: readonly string[];
  /** By prefix. */
  readonly entries: ReadonlyMap<string, RegistryEntry>;
  readonly aliases: ReadonlyMap<string, string>;
}

/**
 * The containers-registries.conf(5) of a node with its drop-ins, `PATH.d/*.conf`: mirrors, blocked
 * registries and short names. It counts where it exists, and `images.registry_config_path` does not
 * exist or is empty. Files are read again when they have changed.
 *
 * They are small and local, and names of images are looked up by status calls, which do not wait: so
 * they are read synchronously.
 */
export class RegistriesConf implements ImageNames {
  readonly #path: string;
  readonly #configDir: string;
  readonly #files = new Map<string, ParsedFile<RegistriesFile>>();
  /** Of the files' contents as they were then, which are the same objects until they change. */
  #merged: { readonly of: readonly RegistriesFile[]; readonly registries: Registries } | undefined;

  constructor(options: { readonly path: string; readonly configDir: string }) {
    this.#path = options.path;
    this.#configDir = options.configDir;
  }

  /**
   * The hosts to ask for an image, in this order. Undefined where this file does not count.
   * `permission-denied` for a blocked image, `failed-precondition` for a file that cannot be used.
   */
  async hostsOf(reference: ImageReference): Promise<readonly RegistryHost[] | undefined> {
    const registries = this.#current();
    if (registries === undefined) return undefined;
    const entry = longestMatch(registries.entries, reference);
    if (entry?.isBlocked === true) {
      throw new RuntimeError(
        "permission-denied",
        `pull "${formatReference(reference)}": "${entry.prefix}" is blocked in "${entry.file}"`,
      );
    }
    const mirrors = (entry?.mirrors ?? []).flatMap((mirror) => {
      const capabilities = capabilitiesOf(mirror, reference);
      return capabilities === undefined ? [] : [this.#host(reference, entry, mirror, capabilities)];
    });
    const isInsecure = entry?.isInsecure === true;
    const own = { location: entry?.location, isInsecure };
    return Promise.all([...mirrors, this.#host(reference, entry, own, all)]);
  }

  /**
   * The image to pull by a name. A name without a host is an alias, else of the one registry in
   * `unqualified-search-registries`, else of docker.io. `failed-precondition` where there are several:
   * which one is asked first would decide whose image runs. The same for a file that cannot be used.
   */
  referenceOf(text: string): ImageReference {
    const short = shortNameOf(text);
    const registries = short === undefined ? undefined : this.#current();
    if (short === undefined || registries === undefined) return parseReference(text);
    const alias = registries.aliases.get(short);
    if (alias !== undefined) return parseReference(`${alias}${text.slice(short.length)}`);
    const [first, ...others] = registries.searched;
    if (first === undefined) return parseReference(text);
    if (others.length === 0) return parseReference(`${first}/${text}`);
    throw new RuntimeError(
      "failed-precondition",
      `find the registry of "${text}": "${this.#path}" has several unqualified-search-registries (${registries.searched.slice(0, 5).join(", ")}); use a name with its registry, or add an alias`,
    );
  }

  /**
   * The images of which the first one on this node is meant: for a name without a host its alias, that of
   * each registry in `unqualified-search-registries`, and that of docker.io, by which archives and other
   * configurations may have named it. Only that of docker.io where the files cannot be used.
   */
  candidatesOf(text: string): readonly ImageReference[] {
    const own = parseReference(text);
    const short = shortNameOf(text);
    const registries = short === undefined ? undefined : this.#usable();
    if (short === undefined || registries === undefined) return [own];
    const alias = registries.aliases.get(short);
    const full = registries.searched.map((registry) => `${registry}/${text}`);
    if (alias !== undefined) full.unshift(`${alias}${text.slice(short.length)}`);
    return [...full.flatMap(parsed), own];
  }

  async #host(
    reference: ImageReference,
    entry: RegistryEntry | undefined,
    { location, isInsecure }: { location: string | undefined; isInsecure: boolean },
    capabilities: readonly Capability[],
  ): Promise<RegistryHost> {
    const source = entry?.file ?? this.#path;
    const certsDir = join(dirname(this.#path), "certs.d");
    const there = location === undefined ? reference : moved(reference, entry, location);
    const host = await hostByName(there.registry, { certsDir, isInsecure, source });
    return { ...host, capabilities, repository: there.repository };
  }

  /** Undefined where this file does not count. */
  #current(): Registries | undefined {
    const first = this.#file(this.#path).read();
    if (first === undefined || namesIn(this.#configDir).length > 0) return undefined;
    const of = [first, ...this.#dropIns()];
    const known = this.#merged;
    if (known?.of.length === of.length && of.every((file, index) => file === known.of[index])) {
      return known.registries;
    }
    const registries = merge(of);
    this.#merged = { of, registries };
    return registries;
  }

  #usable(): Registries | undefined {
    try {
      return this.#current();
    } catch {
      return undefined; // A pull reports why.
    }
  }

  #dropIns(): readonly RegistriesFile[] {
    const dir = `${this.#path}.d`;
    const names = namesIn(dir).filter((name) => name.endsWith(".conf"));
    if (names.length > maxDropIns) {
      const why = `it has ${names.length} files, more than ${maxDropIns}`;
      throw new RuntimeError("failed-precondition", `read "${dir}": ${why}`);
    }
    const paths = names.sort().map((name) => join(dir, name));
    for (const path of this.#files.keys()) {
      if (path !== this.#path && !paths.includes(path)) this.#files.delete(path);
    }
    return paths.flatMap((path) => this.#file(path).read() ?? []);
  }

  #file(path: string): ParsedFile<RegistriesFile> {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    const options = { maxBytes: maxRegistriesBytes, parse: parseRegistriesFile };
    const file = new ParsedFile(path, options);
    this.#files.set(path, file);
    return file;
  }
}

/** Later files replace what earlier ones say of the same prefix or alias. */
function merge(files: readonly RegistriesFile[]): Registries {
  const entries = new Map<string, RegistryEntry>();
  const aliases = new Map<string, string>();
  for (const file of files) {
    for (const entry of file.registries) entries.set(entry.prefix, entry);
    for (const [short, full] of file.aliases) {
      if (full === "") aliases.delete(short);
      else aliases.set(short, full);
    }
  }
  const searched = files.findLast((file) => file.searched !== undefined)?.searched ?? [];
  return { searched, entries, aliases };
}

/** Nothing for a name that becomes too long with its registry: no image has it. */
function parsed(name: string): readonly ImageReference[] {
  try {
    return [parseReference(name)];
  } catch {
    return [];
  }
}

function longestMatch(
  entries: ReadonlyMap<string, RegistryEntry>,
  reference: ImageReference,
): RegistryEntry | undefined {
  const name = formatReference(reference);
  let best: RegistryEntry | undefined;
  for (const entry of entries.values()) {
    if (entry.prefix.length <= (best?.prefix.length ?? 0)) continue;
    if (matchedLength(entry.prefix, name) !== undefined) best = entry;
  }
  return best;
}

/** The image in the place that replaces the prefix of its name. */
function moved(
  reference: ImageReference,
  entry: RegistryEntry | undefined,
  location: string,
): ImageReference {
  const name = repositoryName(reference);
  const rest = name.slice(matchedLength(entry?.prefix ?? "", name) ?? 0);
  const there = `${location}${rest}`;
  if (there.includes("/")) return parseReference(there);
  throw new RuntimeError(
    "failed-precondition",
    `find "${name}" at "${location}": it would have no path there; fix the location in "${entry?.file ?? ""}"`,
  );
}

/** How many characters of a full name a prefix covers; undefined where it does not match. */
function matchedLength(prefix: string, name: string): number | undefined {
  if (prefix.startsWith("*.")) {
    const host = name.slice(0, name.indexOf("/")).replace(/:\d+$/, "");
    const isBelow = host.endsWith(prefix.slice(1)) && host.length >= prefix.length;
    return isBelow ? host.length : undefined;
  }
  if (!name.startsWith(prefix)) return undefined;
  return /^([/:@]|$)/.test(name.slice(prefix.length)) ? prefix.length : undefined;
}

/** What a mirror may be asked for. A tag is looked up where the mirror allows it, content by its digest. */
function capabilitiesOf(
  mirror: MirrorEntry,
  { digest }: ImageReference,
): readonly Capability[] | undefined {
  if (mirror.for === "digest-only") return ["pull"];
  if (mirror.for === "tag-only" && digest !== undefined) return undefined;
  return ["pull", "resolve"];
}

function namesIn(dir: string): readonly string[] {
  try {
    return readdirSync(dir);
  } catch (cause) {
    if (codeOf(cause) === "ENOENT" || codeOf(cause) === "ENOTDIR") return [];
    throw new RuntimeError("failed-precondition", `read "${dir}": ${messageOf(cause)}`, { cause });
  }
}
