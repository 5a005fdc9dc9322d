import { toml } from "../../../config/format.ts";
import type { Draft } from "../draft.ts";
import type { NodeFiles } from "../node-files.ts";
import type { Given, Origin, Settings } from "../settings.ts";
import { pathOf, textsOf } from "../values.ts";
import type { ContainerdSettings } from "./read.ts";

const base = ["plugins", "cri", "registry"] as const;
const defaultDirectory = "/etc/containerd/certs.d";
const dockerDirectory = "/etc/docker/certs.d";

/** The registries: the directory with hosts.toml, or mirrors and credentials of config.toml. */
export function importRegistry(
  { settings, version }: ContainerdSettings,
  files: NodeFiles,
  draft: Draft,
): void {
  const given = settings.get(...base, "config_path");
  const directories =
    typeof given?.value === "string"
      ? given.value.split(":").flatMap((path) => (path === "" ? [] : [pathOf(path) ?? path]))
      : [];
  if (directories.length > 0 && given !== undefined) useDirectory(directories, given, files, draft);
  const isUsed = files.list(defaultDirectory).length > 0;
  if (directories.length === 0 && version > 2 && isUsed) {
    const origin = { file: defaultDirectory, key: "containerd 2.2 and later read it by default" };
    draft.set(["images", "registry_config_path"], defaultDirectory, origin);
  }
  importMirrors(settings, draft);
  importCredentials(settings, draft);
}

function useDirectory(
  directories: readonly string[],
  { origin }: Given,
  files: NodeFiles,
  draft: Draft,
): void {
  const [first = "", ...others] = directories;
  const used = directories.find((directory) => files.list(directory).length > 0) ?? first;
  const comments = ["davit reads the hosts.toml files in it as they are"];
  draft.set(["images", "registry_config_path"], used, origin, ...comments);
  for (const directory of [first, ...others]) {
    if (directory === used || files.list(directory).length === 0) continue;
    const docker = directory === dockerDirectory ? "as ca and client in hosts.toml" : "";
    draft.note(
      { value: directory, origin },
      `davit reads one directory: copy what is in it to ${used} ${docker}`.trim(),
    );
  }
}

/** What a host of a registry needs besides its URL. */
interface Tls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly insecure: boolean;
}

function importMirrors(settings: Settings, draft: Draft): void {
  const mirrors = settings.names(...base, "mirrors");
  const configs = settings.names(...base, "configs");
  for (const name of mirrors) {
    const given = settings.get(...base, "mirrors", name, "endpoint");
    const endpoints = textsOf(given?.value);
    if (given === undefined || endpoints.length === 0) continue;
    addHosts(draft, name === "*" ? "_default" : name, endpoints, settings, given.origin);
  }
  for (const name of configs) {
    const [tls] = settings.below(...base, "configs", name, "tls");
    if (tls === undefined || mirrors.includes(name)) continue;
    addHosts(draft, name, [`https://${name}`], settings, tls.origin);
  }
}

function addHosts(
  draft: Draft,
  name: string,
  endpoints: readonly string[],
  settings: Settings,
  origin: Origin,
): void {
  const blocks = endpoints.map((endpoint) => hostBlock(endpoint, settings));
  if (!/^[\w.:[\]-]{1,255}$/.test(name)) {
    draft.noteKey(origin, `"${name}" is not the name of a registry`);
    return;
  }
  const text = `# From ${origin.file}, ${origin.key}\n${blocks.join("\n")}`;
  draft.hosts.push({ name: `${name}/hosts.toml`, text });
  draft.noteKey(origin, `see ${name}/hosts.toml above`);
}

function hostBlock(endpoint: string, settings: Settings): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const tls = tlsOf(settings, url?.host ?? endpoint);
  // A password in an address would be printed, and be in a file that everybody can read.
  const shown = url === undefined ? endpoint : withoutUser(url, endpoint);
  const lines = [`[host.${JSON.stringify(shown)}]`, 'capabilities = ["pull", "resolve"]'];
  // containerd adds /v2 only to an endpoint without a path.
  if (url !== undefined && url.pathname !== "/") lines.push("override_path = true");
  if (tls.ca !== "") lines.push(`ca = ${toml(tls.ca)}`);
  if (tls.cert !== "") lines.push(`client = ${toml([[tls.cert, tls.key]])}`);
  if (tls.insecure) lines.push("skip_verify = true");
  return `${lines.join("\n")}\n`;
}

function withoutUser(url: URL, endpoint: string): string {
  if (url.username === "" && url.password === "") return endpoint;
  const bare = new URL(url);
  bare.username = "";
  bare.password = "";
  return bare.href.replace(/\/$/, "");
}

function tlsOf(settings: Settings, host: string): Tls {
  const text = (key: string): string => settings.text(...base, "configs", host, "tls", key);
  const insecure = settings.get(...base, "configs", host, "tls", "insecure_skip_verify");
  return {
    ca: text("ca_file"),
    cert: text("cert_file"),
    key: text("key_file"),
    insecure: insecure?.value === true,
  };
}

/** Credentials become a config.json of Docker, which is only written to a file of its own. */
function importCredentials(settings: Settings, draft: Draft): void {
  const auths: Record<string, object> = {};
  for (const [name, at] of credentialTables(settings)) {
    const origin = settings.below(...at)[0]?.origin;
    const auth = authOf(settings, at);
    if (origin === undefined || auth === undefined) continue;
    auths[name] = auth;
    draft.noteKey(
      origin,
      "credentials: with --certs-dir they are written to a Docker config.json, otherwise write one and set images.docker_config; kubelet's imagePullSecrets need nothing",
    );
  }
  if (Object.keys(auths).length === 0) return;
  const text = `${JSON.stringify({ auths }, undefined, 2)}\n`;
  draft.hosts.push({ name: "config.json", text, isSecret: true });
}

function credentialTables(settings: Settings): readonly [string, readonly string[]][] {
  const hosts = settings.names(...base, "configs");
  const urls = settings.names(...base, "auths");
  return [
    ...urls.map((url): [string, readonly string[]] => [hostOf(url), [...base, "auths", url]]),
    ...hosts.map((host): [string, readonly string[]] => [host, [...base, "configs", host, "auth"]]),
  ];
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}

function authOf(settings: Settings, at: readonly string[]): object | undefined {
  const text = (key: string): string => settings.text(...at, key);
  const token = text("identitytoken");
  if (token !== "") return { identitytoken: token };
  const auth = text("auth");
  if (auth !== "") return { auth };
  const pair = `${text("username")}:${text("password")}`;
  return pair === ":" ? undefined : { auth: Buffer.from(pair).toString("base64") };
}
