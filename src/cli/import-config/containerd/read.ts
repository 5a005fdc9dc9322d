import path from "node:path";
import { ConfigError } from "../../../config/load.ts";
import type { Draft } from "../draft.ts";
import type { NodeFiles } from "../node-files.ts";
import { type Given, readToml, Settings, type TomlFile } from "../settings.ts";
import { textsOf } from "../values.ts";

/** Files that import others without an end are not a configuration. */
const maxFiles = 200;

/** The plugins whose names differ between versions, by a name of this program. The CRI has one name. */
const plugins: Readonly<Record<string, readonly string[]>> = {
  "io.containerd.grpc.v1.cri": ["plugins", "cri"],
  "io.containerd.cri.v1.images": ["plugins", "cri"],
  "io.containerd.cri.v1.runtime": ["plugins", "cri"],
  "io.containerd.nri.v1.nri": ["plugins", "nri"],
  "io.containerd.tracing.processor.v1.otlp": ["plugins", "otlp"],
  "io.containerd.internal.v1.tracing": ["plugins", "tracing"],
  "io.containerd.service.v1.tasks-service": ["plugins", "tasks-service"],
  "io.containerd.runtime.v2.task": ["plugins", "task"],
  "io.containerd.transfer.v1.local": ["plugins", "transfer"],
  "io.containerd.image-verifier.v1.bindir": ["plugins", "bindir"],
  "io.containerd.snapshotter.v1.overlayfs": ["plugins", "overlayfs"],
  // Version 4 has what is above the plugins in older versions as plugins.
  "io.containerd.server.v1.grpc": ["grpc"],
  "io.containerd.server.v1.grpc-tcp": ["grpc-tcp"],
  "io.containerd.server.v1.ttrpc": ["ttrpc"],
  "io.containerd.server.v1.debug": ["debug"],
  "io.containerd.server.v1.metrics": ["metrics"],
  "io.containerd.metrics.v1.grpc-prometheus": ["metrics"],
};

/** The names in version 1 that are not those of other versions. */
const pluginsOfVersion1: Readonly<Record<string, string>> = {
  cri: "io.containerd.grpc.v1.cri",
  task: "io.containerd.runtime.v2.task",
  tracing: "io.containerd.internal.v1.tracing",
  otlp: "io.containerd.tracing.processor.v1.otlp",
  overlayfs: "io.containerd.snapshotter.v1.overlayfs",
  "tasks-service": "io.containerd.service.v1.tasks-service",
};

/** The values of containerd's configuration, and the highest version of its files. */
export interface ContainerdSettings {
  readonly settings: Settings;
  readonly version: number;
}

/**
 * Reads a config.toml of version 1 to 4 and its imports, in containerd's order: a file, then its imports, each
 * file once. The names of plugins become those of the rules.
 */
export function readContainerd(files: NodeFiles, main: string, draft: Draft): ContainerdSettings {
  const settings = new Settings();
  const pending = [main];
  const loaded = new Set<string>();
  const writers = new Map<string, string>();
  let version = 0;
  for (let file = pending.shift(); file !== undefined; file = pending.shift()) {
    if (loaded.has(file)) continue;
    if (loaded.size === maxFiles) {
      throw new ConfigError(main, [
        { key: "", file, message: `imports more than ${maxFiles} files` },
      ]);
    }
    loaded.add(file);
    const content = readToml(files, file);
    const own = versionOf(content, file);
    version = Math.max(version, own);
    for (const given of content.given) {
      const [first, plugin] = given.path;
      if (first === "plugins" && plugin !== undefined && own < 3) {
        const before = writers.get(plugin);
        if (before !== undefined && before !== file) noteReplaced(draft, given, before);
        writers.set(plugin, file);
      }
      settings.set({ ...given, path: renamed(given.path, own) });
    }
    pending.push(...importsOf(files, content, file));
  }
  return { settings, version };
}

function versionOf({ table, given }: TomlFile, file: string): number {
  const version = table["version"] ?? 1n;
  if (typeof version === "bigint" && version >= 1n && version <= 4n) return Number(version);
  const message = "version must be 1, 2, 3 or 4: davit knows no other configurations of containerd";
  const line = given.find(({ path: [first] }) => first === "version")?.origin.line;
  throw new ConfigError(file, [{ key: "version", file, message, line }]);
}

function renamed(given: readonly string[], version: number): readonly string[] {
  const [first, plugin = "", ...rest] = given;
  if (first !== "plugins") return given;
  const full = version === 1 ? (pluginsOfVersion1[plugin] ?? plugin) : plugin;
  const short = Object.hasOwn(plugins, full) ? plugins[full] : undefined;
  return [...(short ?? ["plugins", full]), ...rest];
}

function importsOf(files: NodeFiles, { table }: TomlFile, file: string): readonly string[] {
  return textsOf(table["imports"]).flatMap((pattern) => {
    const absolute = path.resolve(path.dirname(file), pattern);
    return absolute.includes("*") ? files.glob(absolute) : [absolute];
  });
}

/** containerd 1 takes the whole table of a plugin from the last file that has it. */
function noteReplaced(draft: Draft, { origin, path: given }: Given, before: string): void {
  const plugin = given[1] ?? "";
  const text = `${origin.file} and ${before} both have keys of the plugin "${plugin}". They are merged here, as containerd 2 merges them; containerd 1 uses only those of the last file.`;
  if (!draft.hints.includes(text)) draft.hints.push(text);
}
