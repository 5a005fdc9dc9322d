import type {
  Config,
  HandlerConfig,
  RuntimeConfig,
  ServerConfig,
  StreamingConfig,
} from "./config.ts";
import { gidOf } from "./group.ts";
import { nearest } from "../base/nearest.ts";
import { builtInHandlers, handlerSection, type HandlerTable } from "./schema.ts";
import { sections, tomlKey, topLevel } from "./schema.ts";
import { isTable, type Section } from "./setting.ts";

/** One thing that is wrong with a configuration. */
export interface Finding {
  /** The dotted path of the key it is about, as far as it is known. */
  readonly key: string;
  readonly message: string;
}

type Table = Readonly<Record<string, unknown>>;

const HANDLER_NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;

/**
 * Makes a Config of a parsed file. What is wrong is added to `findings`, with the default in its
 * place, so that one reading finds everything; the result counts only if there were none.
 */
export function readConfig(raw: Table, findings: Finding[]): Config {
  const known = [...Object.keys(topLevel), ...Object.keys(sections)];
  refuseUnknown(raw, known, "", findings);
  const table = (name: string): Table => asTable(raw[name], name, findings);
  const runtimeTable = table("runtime");
  const { handlers: rawHandlers, ...runtimeRaw } = runtimeTable;
  return {
    ...readSection(topLevel, raw, "", {}, findings),
    server: readWhole(sections.server.settings, table("server"), "server", findings),
    log: readWhole(sections.log.settings, table("log"), "log", findings),
    images: readWhole(sections.images.settings, table("images"), "images", findings),
    cni: readWhole(sections.cni.settings, table("cni"), "cni", findings),
    cdi: readWhole(sections.cdi.settings, table("cdi"), "cdi", findings),
    runtime: {
      ...readWhole(sections.runtime.settings, runtimeRaw, "runtime", findings),
      handlers: readHandlers(asTable(rawHandlers, "runtime.handlers", findings), findings),
    },
    streaming: readWhole(sections.streaming.settings, table("streaming"), "streaming", findings),
    tuning: readWhole(sections.tuning.settings, table("tuning"), "tuning", findings),
  };
}

/** Adds what is wrong between values that are each right. */
export function checkTogether(config: Config, findings: Finding[]): void {
  if (config.root === config.state) {
    findings.push({
      key: "state",
      message: refusal("state", config.state, "another directory than root"),
    });
  }
  checkGroup(config.server, findings);
  checkDefaultHandler(config.runtime, findings);
  checkCertificate(config.streaming, findings);
  refuseWithoutEffect(config.runtime, findings);
}

function checkGroup({ group }: ServerConfig, findings: Finding[]): void {
  if (group === "" || gidOf(group) !== undefined) return;
  const key = "server.group";
  findings.push({ key, message: refusal(key, group, "a group that is in /etc/group, or a gid") });
}

/** A setting that does nothing without another one: taking it silently would be a lie. */
function refuseWithoutEffect({ handlers }: RuntimeConfig, findings: Finding[]): void {
  for (const [name, handler] of Object.entries(handlers)) {
    if (!handler.privilegedWithoutHostDevicesAllDevicesAllowed) continue;
    if (handler.privilegedWithoutHostDevices) continue;
    const at = `runtime.handlers.${name}`;
    const key = `${at}.privileged_without_host_devices_all_devices_allowed`;
    const needed = `${at}.privileged_without_host_devices`;
    findings.push({ key, message: `"${key}" would do nothing: set ${needed} to true` });
  }
}

function checkCertificate(streaming: StreamingConfig, findings: Finding[]): void {
  const { tls, tlsCertFile, tlsKeyFile } = streaming;
  const given = tlsCertFile !== "" ? "tls_cert_file" : "tls_key_file";
  const missing = tlsCertFile !== "" ? "tls_key_file" : "tls_cert_file";
  const key = `streaming.${given}`;
  if ((tlsCertFile === "") !== (tlsKeyFile === "")) {
    findings.push({ key, message: `"${key}" is of no use alone: set streaming.${missing} too` });
  } else if (tlsCertFile !== "" && !tls) {
    findings.push({ key, message: `"${key}" would do nothing: set streaming.tls to true` });
  }
}

function checkDefaultHandler(runtime: RuntimeConfig, findings: Finding[]): void {
  const names = Object.keys(runtime.handlers);
  if (names.includes(runtime.defaultHandler)) return;
  const key = "runtime.default_handler";
  const allowed =
    names.length === 0
      ? "an enabled handler, and there is none"
      : `one of the handlers ${names.map((name) => `"${name}"`).join(", ")}`;
  findings.push({ key, message: refusal(key, runtime.defaultHandler, allowed) });
}

function readHandlers(raw: Table, findings: Finding[]): Readonly<Record<string, HandlerConfig>> {
  // Clients name handlers: one called "constructor" must not be found unless it is in the file.
  const handlers = Object.create(null) as Record<string, HandlerConfig>;
  for (const name of new Set([...Object.keys(builtInHandlers), ...Object.keys(raw)])) {
    const key = `runtime.handlers.${name}`;
    if (!HANDLER_NAME.test(name)) {
      const message = `handler name "${name}": must be of letters, digits, "-", "_" and "."`;
      findings.push({ key: "runtime.handlers", message });
      continue;
    }
    const table = asTable(raw[name], key, findings);
    // Naming a shim replaces the runtime that a built-in handler would otherwise have.
    const { path, ...rest } = builtInHandlers[name] ?? {};
    const base = isSet(table["runtime_type"]) || path === undefined ? rest : { ...rest, path };
    refuseUnknown(table, tomlKeys(handlerSection), key, findings);
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
    add("path", `"${key}" has neither path nor runtime_type: name an OCI runtime or a shim`);
  }
  if (path !== "" && runtimeType !== "") {
    const both = `path = "${path}" and runtime_type = "${runtimeType}"`;
    add("runtimeType", `"${key}" has both ${both}: keep the one that is meant`);
    return;
  }
  if (handler.controller === "shim" && path !== "") {
    const why = "only a shim can be the sandbox's controller";
    add("controller", `"${key}" has controller = "shim" and no runtime_type: ${why}`);
  }
  if (path === "") return;
  if (handler.runtimePath !== "") add("runtimePath", forShims(key, "runtime_path"));
  if (Object.keys(handler.options).length > 0) add("options", forShims(key, "options"));
}

function forShims(key: string, name: string): string {
  return `"${key}.${name}" would do nothing: it goes with runtime_type, not with path`;
}

/** A section whose keys are all known from its schema. */
function readWhole<T>(section: Section<T>, raw: Table, at: string, findings: Finding[]): T {
  const inner = at === "runtime" ? ["handlers"] : [];
  refuseUnknown(raw, [...tomlKeys(section), ...inner], at, findings);
  return readSection(section, raw, at, {}, findings);
}

/** Each setting of a section: from the file, else from `base`, else its default. */
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
    findings.push({ key, message: refusal(key, given, reading.allowed) });
    return inherited;
  };
  const fields = Object.keys(section) as (keyof T & string)[];
  // One entry for each field of T, so the pieces are a T.
  return Object.fromEntries(fields.map((field) => [field, read(field)])) as T;
}

function refuseUnknown(
  raw: Table,
  known: readonly string[],
  at: string,
  findings: Finding[],
): void {
  for (const name of Object.keys(raw)) {
    if (known.includes(name)) continue;
    const key = join(at, name);
    const meant = meantBy(key, at, known);
    const hint = meant === undefined ? "" : `, did you mean "${meant}"?`;
    findings.push({ key, message: `unknown key "${key}"${hint}` });
  }
}

/** First a neighbour that is spelled alike, then the same key in another table, then anything alike. */
function meantBy(key: string, at: string, known: readonly string[]): string | undefined {
  const name = key.slice(at === "" ? 0 : at.length + 1);
  const neighbour = nearest(name, known);
  if (neighbour !== undefined) return join(at, neighbour);
  const byName = new Map(allKeys().map((other) => [other.slice(other.indexOf(".") + 1), other]));
  const alike = nearest(name, byName.keys());
  return alike === undefined ? nearest(key, byName.values()) : byName.get(alike);
}

function allKeys(): readonly string[] {
  const inSections = Object.entries(sections).flatMap(([name, { settings }]) =>
    Object.keys(settings).map((field) => `${name}.${tomlKey(field)}`),
  );
  return [...Object.keys(topLevel), ...Object.keys(sections), ...inSections, "runtime.handlers"];
}

function tomlKeys(section: object): readonly string[] {
  return Object.keys(section).map(tomlKey);
}

function asTable(raw: unknown, key: string, findings: Finding[]): Table {
  if (raw === undefined) return {};
  if (isTable(raw)) return raw;
  findings.push({ key, message: refusal(key, raw, `a table, written as [${key}]`) });
  return {};
}

/** "must be" for a value that is wrong. */
function refusal(key: string, value: unknown, allowed: string): string {
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
