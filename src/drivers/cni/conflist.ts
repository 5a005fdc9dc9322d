import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { quote, quoteValue } from "../../base/quote.ts";
import { type CniVersion, chooseVersion, supportedVersions } from "./version.ts";

/** A JSON object of which nothing more is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** One plugin of a network configuration. */
export interface PluginConf {
  /** File name of the plugin. */
  readonly type: string;
  /** Names of the capability arguments that it accepts. */
  readonly capabilities: readonly string[];
  /** Its configuration as written, without `capabilities`, which plugins must not see. */
  readonly config: JsonObject;
}

/** A network configuration list, checked. */
export interface NetworkList {
  readonly name: string;
  readonly cniVersion: CniVersion;
  readonly disableGc: boolean;
  /** True when plugins may be in a directory named like the network, next to the file. */
  readonly takesPluginFiles: boolean;
  readonly plugins: readonly PluginConf[];
  /** Everything above as one JSON text that {@link parseNetworkList} reads again. */
  readonly text: string;
}

// Specification 1.1.0, section 1, "name". It is also a directory name (IPAM data, plugin files).
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** True for a JSON object, false for arrays and null. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `object` without some of its keys. */
export function without(object: JsonObject, ...keys: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)));
}

function invalid(message: string): RuntimeError {
  return new RuntimeError("invalid-argument", message);
}

/** Reads a JSON object. Throws `invalid-argument` with the parser's message. */
export function parseObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new RuntimeError("invalid-argument", `parse JSON: ${messageOf(error)}`, { cause: error });
  }
  if (!isObject(value)) throw invalid("parse JSON: it must be an object");
  return value;
}

function parsePlugin(value: unknown): PluginConf {
  if (!isObject(value)) throw invalid("it must be an object");
  const { capabilities, ...config } = value;
  const type = config["type"];
  if (typeof type !== "string" || type === "") throw invalid('"type" is missing');
  // The type is looked up in the plugin directories and must not lead out of them.
  if (type.includes("/")) throw invalid(`"type" must be a file name, got ${quote(type)}`);
  const wanted = isObject(capabilities) ? capabilities : {};
  return {
    type,
    capabilities: Object.keys(wanted).filter((name) => wanted[name] === true),
    config,
  };
}

function parsePlugins(values: readonly unknown[]): PluginConf[] {
  return values.map((value, at) => {
    try {
      return parsePlugin(value);
    } catch (error) {
      throw wrap(`plugins[${at}]`, error);
    }
  });
}

function parseVersion(list: JsonObject): CniVersion {
  const { cniVersion, cniVersions } = list;
  const offered = [
    ...(typeof cniVersion === "string" ? [cniVersion] : []),
    ...(Array.isArray(cniVersions) ? cniVersions.filter((entry) => typeof entry === "string") : []),
  ];
  const version = chooseVersion(offered);
  if (version === undefined) {
    const got = offered.length === 0 ? "none" : offered.slice(0, 10).map(quote).join(", ");
    throw invalid(`"cniVersion" must be one of ${supportedVersions.join(", ")}, got ${got}`);
  }
  return version;
}

// These may also be strings, as libcni has always accepted.
function parseFlag(list: JsonObject, key: string): boolean {
  const value = list[key] ?? false;
  if (typeof value === "boolean") return value;
  const word = typeof value === "string" ? value.toLowerCase() : "";
  if (word === "true" || word === "false") return word === "true";
  throw invalid(`"${key}" must be true or false, got ${quoteValue(value)}`);
}

function checkedList(
  list: JsonObject,
  plugins: readonly PluginConf[],
  takesPluginFiles: boolean,
): NetworkList {
  const name = list["name"];
  if (typeof name !== "string" || name === "") throw invalid('"name" is missing');
  if (!namePattern.test(name)) {
    throw invalid(`"name" must be letters, digits, "_", "." and "-", got ${quote(name)}`);
  }
  const network = {
    name,
    cniVersion: parseVersion(list),
    disableGc: parseFlag(list, "disableGC"),
    plugins,
  };
  return { ...network, takesPluginFiles, text: textOf(network) };
}

function textOf(network: Omit<NetworkList, "text" | "takesPluginFiles">): string {
  return JSON.stringify({
    name: network.name,
    cniVersion: network.cniVersion,
    disableGC: network.disableGc,
    loadOnlyInlinedPlugins: true,
    plugins: network.plugins.map(({ config, capabilities }) => ({
      ...config,
      ...(capabilities.length > 0 && {
        capabilities: Object.fromEntries(capabilities.map((capability) => [capability, true])),
      }),
    })),
  });
}

/**
 * Reads a network configuration list (`.conflist`; specification 1.1.0, section 1). Its list of
 * plugins may be empty when files can add more. Throws `invalid-argument`.
 */
export function parseNetworkList(text: string): NetworkList {
  const list = parseObject(text);
  const onlyInlined = parseFlag(list, "loadOnlyInlinedPlugins");
  const plugins = list["plugins"];
  if (plugins === undefined && onlyInlined) throw invalid('"plugins" is missing');
  if (plugins !== undefined && (!Array.isArray(plugins) || plugins.length === 0)) {
    throw invalid('"plugins" must be a list with a plugin in it');
  }
  return checkedList(list, parsePlugins(plugins ?? []), !onlyInlined);
}

/** Reads a file with a single plugin (`.conf`, `.json`) as a list of one. Throws `invalid-argument`. */
export function parseSinglePlugin(text: string): NetworkList {
  const conf = parseObject(text);
  if (conf["type"] === undefined && conf["plugins"] !== undefined) {
    throw invalid('"type" is missing, but it has "plugins": name the file *.conflist');
  }
  const plugin = parsePlugin(without(conf, "name", "cniVersion", "cniVersions", "disableGC"));
  return checkedList(conf, [plugin], false);
}

/** `list` with more plugins at its end, each given as the text of a file. Throws `invalid-argument`. */
export function withPluginFiles(list: NetworkList, texts: readonly string[]): NetworkList {
  const plugins = [...list.plugins, ...texts.map((text) => parsePlugin(parseObject(text)))];
  if (plugins.length === 0) throw invalid("it has no plugins");
  return { ...list, plugins, text: textOf({ ...list, plugins }) };
}
