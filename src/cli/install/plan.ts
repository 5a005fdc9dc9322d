import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
} from "node:fs";
import { dirname } from "node:path";
import { errnoCode } from "../../base/system-error.ts";
import { conflistName, placeIn, paths } from "./layout.ts";
import { hashOf, type InstallRecord } from "./record.ts";
import { programOf, type Templates } from "./templates.ts";

/** What happens to a file. */
type Action = "create" | "update" | "keep" | "leave out";

/** One file, link or directory of an installation. */
export interface Item {
  readonly action: Action;
  readonly kind: "file" | "link" | "directory";
  /** Its path in the tree of the installation, without the prefix of --root. */
  readonly path: string;
  readonly why: string;
  /** The text of a file, or the target of a link. */
  readonly content: string;
  /** The file is there, and is not as this davit would write it. */
  readonly differs?: true;
  /** The operator has to do something: this davit would not be what runs. */
  readonly problem?: true;
}

/** What a plan depends on. */
export interface PlanFacts {
  /** The prefix of --root, or "". */
  readonly root: string;
  readonly home: string;
  readonly record: InstallRecord | undefined;
  readonly templates: Templates;
  /** Whether the network of pods is davit's bridge; else why not. */
  readonly network: { readonly bridge: true } | { readonly bridge: false; readonly why: string };
  /** The directory of network configurations. */
  readonly confDir: string;
  /** The PATH of the caller, where a davit may be already. */
  readonly searchPath: string;
}

/** What an installation does and leaves as it is. Reads only. */
export function planInstall(facts: PlanFacts): readonly Item[] {
  const { home, templates } = facts;
  return [
    directory(facts, paths.registries),
    text(facts, { path: paths.config, text: templates.config, made: "the configuration" }),
    network(facts),
    text(facts, { path: paths.crictl, text: templates.crictl, made: "the socket for crictl" }),
    unit(facts),
    link(facts, `${home}/bin/davit`),
  ];
}

function directory({ root }: PlanFacts, path: string): Item {
  const exists = existsSync(placeIn(root, path));
  const why = exists ? "is there" : "for mirrors and certificates of registries";
  return { action: exists ? "keep" : "create", kind: "directory", path, why, content: "" };
}

/** A file that is written if it is missing, and again if nobody has changed it since davit wrote it. */
function text(
  { root, home, record }: PlanFacts,
  file: { readonly path: string; readonly text: string; readonly made: string },
): Item {
  const { path, text: content, made } = file;
  const item = { kind: "file", path, content } as const;
  const existing = readIfThere(placeIn(root, path));
  if (existing === undefined) return { ...item, action: "create", why: made };
  if (existing === content) return { ...item, action: "keep", why: "is as this davit writes it" };
  const written = record?.files[path];
  if (written !== undefined && written === hashOf(existing)) {
    const why = `unchanged since davit ${record?.version ?? ""} wrote it; this davit writes it again`;
    return { ...item, action: "update", why };
  }
  const whose =
    written === undefined ? "was not made by davit install" : "was changed on this node";
  const name = path.slice(path.lastIndexOf("/") + 1);
  const why = `${whose}; compare it with ${home}/packaging/${name}`;
  return { ...item, action: "keep", why, differs: true };
}

/** Never beside another configuration: the first one in lexical order would be the network of all pods. */
function network({ root, confDir, templates, network: wanted }: PlanFacts): Item {
  const path = `${confDir}/${conflistName}`;
  const item = { kind: "file", path, content: templates.conflist } as const;
  const present = listIfThere(placeIn(root, confDir)).filter((name) =>
    /\.(conflist|conf|json)$/.test(name),
  );
  if (present.includes(conflistName)) {
    return { ...item, action: "keep", why: "is there; networks of running pods are not changed" };
  }
  if (present.length > 0) {
    const why = `the node has a network: ${present.slice(0, 3).join(", ")} in ${confDir}`;
    return { ...item, action: "leave out", why };
  }
  if (!wanted.bridge) return { ...item, action: "leave out", why: wanted.why };
  return { ...item, action: "create", why: "a bridge for the pods of this machine" };
}

function unit(facts: PlanFacts): Item {
  const { root, home, templates } = facts;
  const program = `${home}/bin/davit`;
  const existing = readIfThere(placeIn(root, paths.unit));
  const packaged = paths.packagedUnits.find((path) => existsSync(placeIn(root, path)));
  if (existing === undefined && packaged !== undefined) {
    const started = programOf(readIfThere(placeIn(root, packaged)) ?? "") ?? "";
    if (started !== "" && realOf(placeIn(root, started)) === realOf(placeIn(root, program))) {
      const why = `the package has ${packaged}, which starts this davit`;
      return { action: "leave out", kind: "file", path: paths.unit, why, content: "" };
    }
  }
  const item = text(facts, { path: paths.unit, text: templates.unit, made: "the service" });
  const started = existing === undefined ? undefined : programOf(existing);
  if (item.differs !== true || started === undefined || realOf(started) === realOf(program)) {
    return item;
  }
  const why = `it starts another davit, ${started}; set ExecStart to ${program}, or remove the file and install again`;
  return { ...item, why, problem: true };
}

function link({ root, record, searchPath }: PlanFacts, target: string): Item {
  const path = paths.link;
  const item = { kind: "link", path, content: target } as const;
  const existing = linkIfThere(placeIn(root, path));
  if (existing === target) return { ...item, action: "keep", why: "is this davit" };
  if (existing !== undefined && existing === record?.links[path]) {
    return { ...item, action: "update", why: `pointed to the davit of before, ${existing}` };
  }
  if (existing !== undefined) {
    const why = "is another davit, which was not made by davit install";
    return { ...item, action: "keep", why, problem: true };
  }
  const found = searchPath
    .split(":")
    .filter((directory) => directory.startsWith("/"))
    .map((directory) => `${directory}/davit`)
    .find((file) => existsSync(placeIn(root, file)));
  if (found === undefined) return { ...item, action: "create", why: "the command, on the PATH" };
  if (realOf(placeIn(root, found)) === realOf(placeIn(root, target))) {
    return { ...item, action: "leave out", why: `${found} is this davit` };
  }
  const why = `${found} is another davit, which this link would hide; remove that one first`;
  return { ...item, action: "leave out", why, problem: true };
}

function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** The text of a file; undefined if there is none. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The target of a link, or "" for another file; undefined if there is nothing. */
export function linkIfThere(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "";
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** The names in a directory, sorted; none if there is no directory. */
function listIfThere(path: string): readonly string[] {
  try {
    return readdirSync(path).toSorted();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** The directories above a path that do not exist in the tree at `root`, the uppermost first. */
export function missingParents(root: string, path: string): readonly string[] {
  const missing: string[] = [];
  for (let at = dirname(path); at !== "/"; at = dirname(at)) {
    if (existsSync(placeIn(root, at))) break;
    missing.unshift(at);
  }
  return missing;
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(errnoCode(error) ?? "");
}
