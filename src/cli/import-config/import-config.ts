// Makes a configuration of davit from that of another runtime. A table of rules for each runtime says what
// each of its keys is in davit: containerd/rules.ts and crio/rules.ts. Loaded only by `davit config import`.
import path from "node:path";
import { parseConfig } from "../../config/load.ts";
import { importRegistry } from "./containerd/registry.ts";
import { readContainerd } from "./containerd/read.ts";
import { containerdRules } from "./containerd/rules.ts";
import * as containerd from "./containerd/runtimes.ts";
import { importContainersFiles } from "./crio/containers-files.ts";
import { importObservers } from "./crio/observers.ts";
import { readCrio } from "./crio/read.ts";
import { crioRules } from "./crio/rules.ts";
import * as crio from "./crio/runtimes.ts";
import { Draft, type ExtraFile } from "./draft.ts";
import type { NodeFiles } from "./node-files.ts";
import { formatDraft } from "./print.ts";
import { applyRules } from "./rules.ts";

/** A runtime whose configuration can be imported. */
export type Rival = "containerd" | "crio";

export const defaultFiles: Readonly<Record<Rival, string>> = {
  containerd: "/etc/containerd/config.toml",
  crio: "/etc/crio/crio.conf",
};

/** What an import makes. */
export interface Imported {
  /** A davit.toml that davit accepts. */
  readonly text: string;
  /** Files to write, by their whole paths; none without a directory for them. */
  readonly files: readonly ExtraFile[];
  /** How many settings davit gets, and how many keys have no counterpart. */
  readonly settings: number;
  readonly notes: number;
}

/**
 * Reads the configuration of a runtime and makes that of davit. With `certsDirectory`, mirrors and credentials
 * of containerd's config.toml become files there and beside it, which the configuration names.
 *
 * Throws a ConfigError with file and line for a file that is not valid.
 */
export function importConfig(
  rival: Rival,
  files: NodeFiles,
  main: string,
  certsDirectory?: string,
): Imported {
  const draft = rival === "containerd" ? fromContainerd(files, main) : fromCrio(files, main);
  const extra = certsDirectory === undefined ? [] : placeFiles(draft, certsDirectory);
  const runtime = rival === "containerd" ? "containerd" : "CRI-O";
  const text = formatDraft(draft, { runtime, main, certsDirectory });
  parseConfig(text, "the imported configuration");
  return { text, files: extra, settings: draft.chosen.length, notes: draft.notes.length };
}

function fromContainerd(files: NodeFiles, main: string): Draft {
  const draft = new Draft();
  const read = readContainerd(files, main, draft);
  applyRules(containerdRules, read.settings, draft, "containerd");
  containerd.importRuntimes(read.settings, draft, main);
  importRegistry(read, files, draft);
  return draft;
}

function fromCrio(files: NodeFiles, main: string): Draft {
  const draft = new Draft();
  const settings = readCrio(files, main);
  applyRules(crioRules, settings, draft, "CRI-O");
  crio.importRuntimes(settings, files, draft);
  importObservers(settings, draft);
  importContainersFiles(settings, files, draft);
  return draft;
}

function placeFiles(draft: Draft, directory: string): readonly ExtraFile[] {
  const origin = { file: directory, key: "written by --certs-dir" };
  const isCredentials = ({ isSecret }: ExtraFile): boolean => isSecret === true;
  if (draft.hosts.some((file) => !isCredentials(file))) {
    draft.set(["images", "registry_config_path"], directory, origin);
  }
  return draft.hosts.map((file) => {
    if (!isCredentials(file)) return { ...file, name: path.join(directory, file.name) };
    const name = path.join(path.dirname(directory), "registry-credentials.json");
    draft.set(["images", "docker_config"], name, { file: name, key: "written by --certs-dir" });
    return { ...file, name };
  });
}
