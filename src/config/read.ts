import type {
  Config,
  HandlerConfig,
  ImagesConfig,
  NriConfig,
  RuntimeConfig,
  ServerConfig,
  StreamingConfig,
  VerificationPolicy,
} from "./config.ts";
import type { Finding } from "./finding.ts";
import { gidOf } from "./group.ts";
import { parseListenAddress } from "./listen-address.ts";
import { nearest } from "../base/nearest.ts";
import { builtInHandlers, handlerSection, type HandlerTable } from "./schema.ts";
import { sections, tomlKey, topLevel } from "./schema.ts";
import { isTable, type Section } from "./setting.ts";
import { checkVerification } from "./read-verification.ts";
import { nriValidator } from "./nri-settings.ts";
import { policySection, verificationSection } from "./verification-settings.ts";

type Table = Readonly<Record<string, unknown>>;

const HANDLER_NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;

/**
 * Makes a Config of a parsed file. Errors are added to `findings`, and the default is used
 * instead, so that one pass finds all of them. The result is valid only if there are none.
 */
export function readConfig(raw: Table, findings: Finding[]): Config {
  const known = [...Object.keys(topLevel).map(tomlKey), ...Object.keys(sections)];
  rejectUnknown(raw, known, "", findings);
  const table = (name: string): Table => asTable(raw[name], name, findings);
  const runtimeTable = table("runtime");
  const { handlers: rawHandlers, ...runtimeRaw } = runtimeTable;
  return {
    ...readSection(topLevel, raw, "", {}, findings),
    server: readWhole(sections.server.settings, table("server"), "server", findings),
    log: readWhole(sections.log.settings, table("log"), "log", findings),
    images: readImages(table("images"), findings),
    cni: readWhole(sections.cni.settings, table("cni"), "cni", findings),
    cdi: readWhole(sections.cdi.settings, table("cdi"), "cdi", findings),
    runtime: {
      ...readWhole(sections.runtime.settings, runtimeRaw, "runtime", findings),
      handlers: readHandlers(asTable(rawHandlers, "runtime.handlers", findings), findings),
    },
    streaming: readWhole(sections.streaming.settings, table("streaming"), "streaming", findings),
    cadvisor: readWhole(sections.cadvisor.settings, table("cadvisor"), "cadvisor", findings),
    checkpoint: readWhole(
      sections.checkpoint.settings,
      table("checkpoint"),
      "checkpoint",
      findings,
    ),
    nri: readNri(table("nri"), findings),
    tracing: readWhole(sections.tracing.settings, table("tracing"), "tracing", findings),
    metrics: readWhole(sections.metrics.settings, table("metrics"), "metrics", findings),
    tuning: readWhole(sections.tuning.settings, table("tuning"), "tuning", findings),
  };
}

function readImages(raw: Table, findings: Finding[]): ImagesConfig {
  const { verification, ...rest } = raw;
  const at = "images.verification";
  const { policies = [], ...settings } = asTable(verification, at, findings);
  rejectUnknown(settings, [...tomlKeys(verificationSection), "policies"], at, findings);
  return {
    ...readWhole(sections.images.settings, rest, "images", findings),
    verification: {
      ...readSection(verificationSection, settings, at, {}, findings),
      policies: readPolicies(policies, `${at}.policies`, findings),
    },
  };
}

function readNri(raw: Table, findings: Finding[]): NriConfig {
  const { default_validator: validator, ...rest } = raw;
  const at = "nri.default_validator";
  return {
    ...readWhole(sections.nri.settings, rest, "nri", findings),
    defaultValidator: readWhole(nriValidator, asTable(validator, at, findings), at, findings),
  };
}

function readPolicies(
  raw: unknown,
  at: string,
  findings: Finding[],
): readonly VerificationPolicy[] {
  if (!Array.isArray(raw) || !raw.every(isTable)) {
    findings.push({ key: at, message: `"${at}" must be tables, each written as [[${at}]]` });
    return [];
  }
  return raw.map((table) => {
    rejectUnknown(table, tomlKeys(policySection), at, findings);
    return readSection(policySection, table, at, {}, findings);
  });
}

/** Adds the errors in combinations of values that are valid by themselves. */
export function checkCombinations(config: Config, findings: Finding[]): void {
  if (config.root === config.state) {
    findings.push({
      key: "state",
      message: invalidValue("state", config.state, "a different directory from root"),
    });
  }
  checkWritableRoot(config, findings);
  checkImageGc(config.images, findings);
  checkGroup(config.server, findings);
  checkMetricsSocket(config, findings);
  checkDefaultHandler(config.runtime, findings);
  checkLogSize(config.runtime, findings);
  checkCertificate(config.streaming, findings);
  checkProviders(config.images, findings);
  checkVerification(config.images.verification, findings);
  rejectWithoutEffect(config.runtime, findings);
}

/** Its directory "roots" is mounted on that of root, so it may be neither the same nor inside. */
function checkWritableRoot({ root, state, writableRoot }: Config, findings: Finding[]): void {
  if (writableRoot === "") return;
  const path = `${writableRoot}/`;
  const isOwn = writableRoot === root || path.startsWith(`${root}/roots/`);
  if (!isOwn && !path.startsWith(`${state}/`)) return;
  const allowed = 'a directory on a file system of its own, not root, inside its "roots" or state';
  const key = "writable_root";
  findings.push({ key, message: invalidValue(key, writableRoot, allowed) });
}

function checkImageGc({ gcHighPercent, gcLowPercent }: ImagesConfig, findings: Finding[]): void {
  if (gcHighPercent === 0 || gcLowPercent < gcHighPercent) return;
  const key = "images.gc_low_percent";
  const allowed = `less than images.gc_high_percent, which is ${gcHighPercent}`;
  findings.push({ key, message: invalidValue(key, BigInt(gcLowPercent), allowed) });
}

/** The least size is what conmon and CRI-O accept: one line of conmon. */
function checkLogSize({ logSizeMax, monitor }: RuntimeConfig, findings: Finding[]): void {
  const key = "runtime.log_size_max";
  if (logSizeMax > 0 && logSizeMax < 8192) {
    const allowed = "at least 8192, or 0 for no limit";
    findings.push({ key, message: invalidValue(key, BigInt(logSizeMax), allowed) });
  } else if (logSizeMax > 0 && monitor === "conmon") {
    const message = `"${key}" has no effect with conmon: set runtime.monitor to "davit"`;
    findings.push({ key, message });
  }
}

function checkGroup({ group }: ServerConfig, findings: Finding[]): void {
  if (group === "" || gidOf(group) !== undefined) return;
  const key = "server.group";
  findings.push({ key, message: invalidValue(key, group, "a group of /etc/group, or a gid") });
}

function checkMetricsSocket({ server, metrics }: Config, findings: Finding[]): void {
  const address = parseListenAddress(metrics.listen);
  if (address === undefined || !("path" in address) || address.path !== server.listen) return;
  const key = "metrics.listen";
  const message = invalidValue(key, metrics.listen, "a different socket from server.listen");
  findings.push({ key, message });
}

/** Rejects a setting that has no effect without another one. */
function rejectWithoutEffect({ handlers }: RuntimeConfig, findings: Finding[]): void {
  for (const [name, handler] of Object.entries(handlers)) {
    if (!handler.privilegedWithoutHostDevicesAllDevicesAllowed) continue;
    if (handler.privilegedWithoutHostDevices) continue;
    const at = `runtime.handlers.${name}`;
    const key = `${at}.privileged_without_host_devices_all_devices_allowed`;
    const needed = `${at}.privileged_without_host_devices`;
    findings.push({ key, message: `"${key}" has no effect alone: set ${needed} to true` });
  }
}

function checkCertificate(streaming: StreamingConfig, findings: Finding[]): void {
  const { tls, tlsCertFile, tlsKeyFile } = streaming;
  const given = tlsCertFile !== "" ? "tls_cert_file" : "tls_key_file";
  const missing = tlsCertFile !== "" ? "tls_key_file" : "tls_cert_file";
  const key = `streaming.${given}`;
  if ((tlsCertFile === "") !== (tlsKeyFile === "")) {
    findings.push({ key, message: `"${key}" has no effect alone: set streaming.${missing}, too` });
  } else if (tlsCertFile !== "" && !tls) {
    findings.push({ key, message: `"${key}" has no effect alone: set streaming.tls to true` });
  }
}

function checkProviders(images: ImagesConfig, findings: Finding[]): void {
  const { credentialProvidersConfig: file, credentialProvidersBinDir: directory } = images;
  if ((file === "") === (directory === "")) return;
  const names = ["credential_providers_config", "credential_providers_bin_dir"];
  const [given, missing] = file === "" ? names.toReversed() : names;
  const key = `images.${given}`;
  findings.push({ key, message: `"${key}" has no effect alone: set images.${missing}, too` });
}

function checkDefaultHandler(runtime: RuntimeConfig, findings: Finding[]): void {
  const names = Object.keys(runtime.handlers);
  if (names.includes(runtime.defaultHandler)) return;
  const key = "runtime.default_handler";
  const allowed =
    names.length === 0
      ? "an enabled handler, but none is enabled"
      : `one of the handlers ${names.map((name) => `"${name}"`).join(", ")}`;
  findings.push({ key, message: invalidValue(key, runtime.defaultHandler, allowed) });
}

function readHandlers(raw: Table, findings: Finding[]): Readonly<Record<string, HandlerConfig>> {
  // Clients choose handler names: "constructor" must not be found unless it is in the file.
  const handlers = Object.create(null) as Record<string, HandlerConfig>;
  for (const name of new Set([...Object.keys(builtInHandlers), ...Object.keys(raw)])) {
    const key = `runtime.handlers.${name}`;
    if (!HANDLER_NAME.test(name)) {
      const message = `handler name "${name}" is invalid: must consist of letters, digits, "-", "_" and "."`;
      findings.push({ key: "runtime.handlers", message });
      continue;
    }
    const table = asTable(raw[name], key, findings);
    // A shim replaces the OCI runtime of a built-in handler.
    const { path, ...rest } = builtInHandlers[name] ?? {};
    const base = isSet(table["runtime_type"]) || path === undefined ? rest : { ...rest, path };
    rejectUnknown(table, tomlKeys(handlerSection), key, findings);
    const before = findings.length;
    const { enabled, ...handler } = readSection(handlerSection, table, key, base, findings);
    if (!enabled) continue;
    if (findings.length === before) checkHandler(key, handler, findings);
    handlers[name] = handler;
  }
  return handlers;
}

function checkHandler(key: string, handler: HandlerConfig, findings: Finding[]): void {
  const { path, runtimeType } = handler;
  const add = (field: keyof HandlerTable, message: string): void => {
    findings.push({ key: `${key}.${tomlKey(field)}`, message });
  };
  if (path === "" && runtimeType === "") {
    add(
      "path",
      `"${key}" has neither path nor runtime_type: set one of them to an OCI runtime or a shim`,
    );
  }
  if (path !== "" && runtimeType !== "") {
    const both = `path = "${path}" and runtime_type = "${runtimeType}"`;
    add("runtimeType", `"${key}" has both ${both}: remove one of them`);
    return;
  }
  if (handler.controller === "shim" && path !== "") {
    const reason = "only a shim can create the sandbox";
    add("controller", `"${key}" has controller = "shim" without runtime_type: ${reason}`);
  }
  if (path === "") return;
  if (handler.ioType !== "fifo") add("ioType", onlyForShims(key, "io_type"));
  if (handler.runtimePath !== "") add("runtimePath", onlyForShims(key, "runtime_path"));
  if (Object.keys(handler.options).length > 0) add("options", onlyForShims(key, "options"));
}

function onlyForShims(key: string, name: string): string {
  return `"${key}.${name}" has no effect with path: it requires runtime_type`;
}

/** The tables in a table that are read separately. */
const innerTables: Readonly<Record<string, readonly string[]>> = {
  runtime: ["handlers"],
  images: ["verification"],
  nri: ["default_validator"],
};

/** Reads a section, and rejects keys that are not in its schema. */
function readWhole<T>(section: Section<T>, raw: Table, at: string, findings: Finding[]): T {
  rejectUnknown(raw, [...tomlKeys(section), ...(innerTables[at] ?? [])], at, findings);
  return readSection(section, raw, at, {}, findings);
}

/** Reads each setting of a section: from the file, else from `base`, else its default. */
function readSection<T>(
  section: Section<T>,
  raw: Table,
  at: string,
  base: Partial<T>,
  findings: Finding[],
): T {
  const read = <K extends keyof T & string>(field: K): T[K] => {
    const setting = section[field];
    const inherited = base[field] ?? setting.default;
    const given = raw[tomlKey(field)];
    if (given === undefined) return inherited;
    const reading = setting.read(given);
    if ("value" in reading) return reading.value;
    const key = join(at, tomlKey(field));
    const message =
      setting.isSecret === true
        ? `"${key}" is invalid: must be ${reading.allowed}`
        : invalidValue(key, given, reading.allowed);
    findings.push({ key, message });
    return inherited;
  };
  const fields = Object.keys(section) as (keyof T & string)[];
  // There is one entry for each field of T, so the result is a T.
  return Object.fromEntries(fields.map((field) => [field, read(field)])) as T;
}

function rejectUnknown(
  raw: Table,
  known: readonly string[],
  at: string,
  findings: Finding[],
): void {
  for (const name of Object.keys(raw)) {
    if (known.includes(name)) continue;
    const key = join(at, name);
    const similar = similarKey(key, at, known);
    const hint = similar === undefined ? "" : `, did you mean "${similar}"?`;
    findings.push({ key, message: `unknown key "${key}"${hint}` });
  }
}

/** A similar key of the same table, else the same or a similar key of another table, else any similar key. */
function similarKey(key: string, at: string, known: readonly string[]): string | undefined {
  const name = key.slice(at === "" ? 0 : at.length + 1);
  const sibling = nearest(name, known);
  if (sibling !== undefined) return join(at, sibling);
  // Of several tables with such a key, the first one.
  const all = allKeys().toReversed();
  const byName = new Map(all.map((other) => [other.slice(other.indexOf(".") + 1), other]));
  const similar = nearest(name, byName.keys());
  return similar === undefined ? nearest(key, byName.values()) : byName.get(similar);
}

function allKeys(): readonly string[] {
  const inSections = Object.entries(sections).flatMap(([name, { settings }]) =>
    Object.keys(settings).map((field) => `${name}.${tomlKey(field)}`),
  );
  const top = Object.keys(topLevel).map(tomlKey);
  return [
    ...top,
    ...Object.keys(sections),
    ...inSections,
    "images.verification",
    "nri.default_validator",
    "runtime.handlers",
  ];
}

function tomlKeys(section: object): readonly string[] {
  return Object.keys(section).map(tomlKey);
}

function asTable(raw: unknown, key: string, findings: Finding[]): Table {
  if (raw === undefined) return {};
  if (isTable(raw)) return raw;
  findings.push({ key, message: invalidValue(key, raw, `a table, written as [${key}]`) });
  return {};
}

/** The message for an invalid value. */
function invalidValue(key: string, value: unknown, allowed: string): string {
  return `"${key}" is ${shown(value)}: must be ${allowed}`;
}

function shown(value: unknown): string {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number" && Number.isInteger(value)) return value.toFixed(1);
  if (value instanceof Date) return value.toISOString();
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "bigint" ? Number(inner) : inner,
  );
}

function isSet(raw: unknown): boolean {
  return raw !== undefined && raw !== "";
}

function join(at: string, name: string): string {
  return at === "" ? name : `${at}.${name}`;
}
