import { readdir, readFile, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { isDeepStrictEqual } from "node:util";

import { messageOf, RuntimeError } from "../../base/errors.ts";
import { isThisMachine, type TlsSettings } from "./connections.ts";
import { codeOf } from "./failure.ts";
import { type Capability, type HostEntry, parseHostsFile } from "./hosts-file.ts";

/** A host that is asked for the images of a registry. */
export interface RegistryHost {
  /** Host and port: what logs and errors call it. */
  readonly name: string;
  /** The API's root without a slash at its end: `https://mirror.example:5000/v2`. */
  readonly root: string;
  readonly capabilities: readonly Capability[];
  /**
   * The registry's name where the host is a mirror of it: sent as `ns`, so that one mirror can
   * serve several registries.
   */
  readonly namespace: string | undefined;
  readonly tls: TlsSettings;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly dialTimeoutMs: number | undefined;
  /** `root` is https, but the host may speak plain HTTP: tried when TLS fails. */
  readonly mayBePlain: boolean;
  /** The file or directory that configures it, or `default`. */
  readonly source: string;
  /** A Docker config.json that hosts.toml names for this host: an absolute path. */
  readonly dockerConfig: string | undefined;
  /** The repository in this host, where that is not the image's own. */
  readonly repository: string | undefined;
  /** `NAME` of the program `docker-credential-NAME` that hosts.toml names for this host. */
  readonly credentialHelper: string | undefined;
}

const anyEntry: HostEntry = {
  url: undefined,
  capabilities: ["pull", "resolve", "push"],
  caFiles: [],
  clientFiles: [],
  skipVerify: undefined,
  headers: {},
  overridePath: false,
  dialTimeoutMs: undefined,
  dockerConfig: undefined,
  credentialHelper: undefined,
};

/**
 * The hosts to ask for images of `registry` (`registry.example:5000`), in this order: what
 * `configDir/REGISTRY/hosts.toml` names, else the certificates in that directory in docker's layout,
 * else the same of `configDir/_default`, else the registry itself. Reads the files again each time.
 *
 * `failed-precondition` with file and key where a file cannot be used.
 */
export async function hostsOf(
  registry: string,
  configDir: string,
): Promise<readonly RegistryHost[]> {
  const dir = await findDir(registry, configDir);
  if (dir === undefined) return [await makeHost(anyEntry, registry, "default")];
  const file = join(dir, "hosts.toml");
  const text = await readText(file, "optional");
  if (text === undefined || text === "") {
    return [await makeHost(await dockerCertificates(dir), registry, join(dir, "hosts.toml"))];
  }
  const entries = parseHostsFile(text, file);
  const hosts = await Promise.all(entries.map((entry) => makeHost(entry, registry, file)));
  return hosts.filter((host, at) => !hosts.slice(0, at).some((earlier) => repeats(host, earlier)));
}

/** Whether a host would only be asked again what an earlier one was asked: `server` may name one of the mirrors. */
function repeats(host: RegistryHost, earlier: RegistryHost): boolean {
  const needed = host.capabilities.filter((capability) => capability !== "push");
  return (
    needed.every((capability) => earlier.capabilities.includes(capability)) &&
    isDeepStrictEqual({ ...host, capabilities: [] }, { ...earlier, capabilities: [] })
  );
}

/** The directory of a registry: a port may be written as `_PORT_`, where a name cannot contain `:`. */
async function findDir(
  registry: string,
  configDir: string,
  others: readonly string[] = ["_default"],
): Promise<string | undefined> {
  const names = [registry.replace(/:(\d+)$/, "_$1_"), registry, ...others];
  for (const name of new Set(names)) {
    const dir = join(configDir, name);
    try {
      await stat(dir);
      return dir;
    } catch (cause) {
      if (codeOf(cause) !== "ENOENT" && codeOf(cause) !== "ENOTDIR") throw unreadable(dir, cause);
    }
  }
  return undefined;
}

/** `*.crt` are CAs, `*.cert` client certificates, each with its `*.key` where there is one. */
async function dockerCertificates(dir: string): Promise<HostEntry> {
  const names = (
    await readdir(dir).catch((cause: unknown) => Promise.reject(unreadable(dir, cause)))
  )
    .slice()
    .sort();
  return {
    ...anyEntry,
    caFiles: names.filter((name) => name.endsWith(".crt")),
    clientFiles: names
      .filter((name) => name.endsWith(".cert"))
      .map((cert) => {
        const key = cert.replace(/cert$/, "key");
        return { cert, key: names.includes(key) ? key : undefined };
      }),
  };
}

async function makeHost(entry: HostEntry, registry: string, source: string): Promise<RegistryHost> {
  const isTlsSaid =
    entry.caFiles.length > 0 || entry.clientFiles.length > 0 || entry.skipVerify !== undefined;
  const { url, mayBePlain, skipVerify } =
    entry.url === undefined ? upstreamOf(registry) : mirrorAt(entry.url, isTlsSaid);
  return {
    name: url.host,
    root: `${url.origin}${apiPath(url.pathname, entry.overridePath && entry.url !== undefined)}`,
    capabilities: entry.url === undefined ? anyEntry.capabilities : entry.capabilities,
    namespace: isSameServer(url.host, registry) ? undefined : registry,
    tls: await readTls(entry, entry.skipVerify ?? skipVerify, dirname(source)),
    headers: entry.headers,
    dialTimeoutMs: entry.dialTimeoutMs,
    mayBePlain,
    source,
    dockerConfig:
      entry.dockerConfig === undefined ? undefined : resolve(dirname(source), entry.dockerConfig),
    credentialHelper: entry.credentialHelper,
    repository: undefined,
  };
}

/**
 * A host by its name alone, as registries.conf has it: with the certificates in `certsDir/HOST`, in
 * docker's layout. `isInsecure`: any certificate will do, and plain HTTP.
 */
export async function hostByName(
  name: string,
  options: { readonly certsDir: string; readonly isInsecure: boolean; readonly source: string },
): Promise<RegistryHost> {
  const { isInsecure, source } = options;
  const dir = await findDir(name, options.certsDir, []);
  const entry = dir === undefined ? anyEntry : await dockerCertificates(dir);
  const host = await makeHost(entry, name, dir === undefined ? source : join(dir, "certificates"));
  const skipVerify = host.tls.skipVerify || isInsecure;
  const mayBePlain = host.mayBePlain || (isInsecure && host.root.startsWith("https:"));
  return { ...host, source, mayBePlain, tls: { ...host.tls, skipVerify } };
}

interface Address {
  readonly url: URL;
  readonly mayBePlain: boolean;
  readonly skipVerify: boolean;
}

/**
 * Where a registry itself is. As with containerd, one on this machine is asked by TLS with any
 * certificate first and then by plain HTTP, unless its port implies one of them.
 */
function upstreamOf(registry: string): Address {
  const server = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const url = URL.parse(`https://${server}`);
  if (url === null) {
    throw new RuntimeError("invalid-argument", `ask registry "${registry}": it is not a host`);
  }
  if (!isThisMachine(url.hostname)) return { url, mayBePlain: false, skipVerify: false };
  if (url.port === "80") {
    return { url: new URL(`http://${server}`), mayBePlain: false, skipVerify: false };
  }
  return { url, mayBePlain: url.port !== "", skipVerify: true };
}

/**
 * A host of hosts.toml. An `http:` address together with settings for TLS is asked by TLS first,
 * as with containerd.
 */
function mirrorAt(url: URL, isTlsSaid: boolean): Address {
  if (url.protocol === "https:" || !isTlsSaid || url.port === "") {
    return { url, mayBePlain: false, skipVerify: false };
  }
  const secure = new URL(url);
  secure.protocol = "https:";
  return { url: secure, mayBePlain: true, skipVerify: false };
}

function isSameServer(host: string, registry: string): boolean {
  const wanted = registry === "docker.io" ? "registry-1.docker.io" : registry.toLowerCase();
  // A URL drops the port that its scheme has anyway.
  return host === wanted || host === registry || host === wanted.replace(/:(443|80)$/, "");
}

function apiPath(path: string, isWhole: boolean): string {
  const trimmed = path.replace(/\/+/g, "/").replace(/\/$/, "");
  return isWhole || trimmed.endsWith("/v2") ? trimmed : `${trimmed}/v2`;
}

async function readTls(
  entry: HostEntry,
  skipVerify: boolean,
  baseDir: string,
): Promise<TlsSettings> {
  const read = (file: string): Promise<string> =>
    readText(isAbsolute(file) ? file : join(baseDir, file), "required");
  const client = entry.clientFiles.map(async ({ cert, key }) => {
    const certText = await read(cert);
    return { cert: certText, key: key === undefined ? certText : await read(key) };
  });
  return {
    ca: await Promise.all(
      entry.caFiles.map(async (file) => {
        const text = await read(file);
        if (text.includes("-----BEGIN ")) return text;
        const why = "it holds no certificate in PEM";
        throw new RuntimeError("failed-precondition", `read "${join(baseDir, file)}": ${why}`);
      }),
    ),
    client: await Promise.all(client),
    skipVerify,
  };
}

function readText(file: string, need: "required"): Promise<string>;
function readText(file: string, need: "optional"): Promise<string | undefined>;
async function readText(file: string, need: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    if (codeOf(cause) === "ENOENT" && need === "optional") return undefined;
    throw unreadable(file, cause);
  }
}

function unreadable(path: string, cause: unknown): RuntimeError {
  return new RuntimeError(
    "failed-precondition",
    `read registry configuration "${path}": ${messageOf(cause)}`,
    { cause },
  );
}
