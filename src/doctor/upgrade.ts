import { counted } from "../base/counted.ts";
import { RuntimeError } from "../base/errors.ts";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { changedKeys } from "../config/changed-keys.ts";
import type { Config } from "../config/config.ts";
import { defaultConfig } from "../config/load.ts";
import { inspectRecords, knownSchema, type RecordsInspection } from "../drivers/records/index.ts";
import { readOwner } from "./directory-owner.ts";

/** What this davit would do with a node that another version has run. */
export interface UpgradeReport {
  /** This davit does not start on it, or would not manage all of it. */
  readonly problems: readonly string[];
  /** What its first start changes, and what an earlier davit cannot read then. */
  readonly changes: readonly string[];
  /** What it takes over as it is. */
  readonly facts: readonly string[];
}

/** What is examined. */
export interface UpgradeSubject {
  /** The root directory. */
  readonly root: string;
  /** Undefined if it is invalid; `configProblems` has the reasons then. */
  readonly config: Config | undefined;
  readonly configFile: string | undefined;
  readonly configProblems: readonly string[];
  /** The version of this davit. */
  readonly version: string;
}

/** Reads records, configuration and layout of a node, and changes nothing, also while a daemon runs. */
export function examineUpgrade(subject: UpgradeSubject): UpgradeReport {
  const report = { problems: [] as string[], changes: [] as string[], facts: [] as string[] };
  examineConfig(subject, report);
  examineRecords(subject.root, report);
  examineLayout(subject.root, report);
  examineRunning(subject, report);
  return report;
}

/**
 * The number of pods in the records below `root`, of any davit. Reads only. `failed-precondition` for a damaged
 * database: pods may run that it cannot name.
 */
export function recordedPods(root: string): number {
  const path = join(root, "davit.db");
  const records = inspectRecords(path);
  if (records.kind === "damaged") {
    throw new RuntimeError(
      "failed-precondition",
      `count the pods of "${path}": it is damaged (${records.reason}), and pods may run that it does not name`,
    );
  }
  return "counts" in records ? records.counts.sandboxes : 0;
}

type Lists = { readonly [Name in keyof UpgradeReport]: string[] };

function examineConfig({ config, configFile, configProblems }: UpgradeSubject, to: Lists): void {
  for (const problem of configProblems) to.problems.push(`configuration: ${problem}`);
  if (config === undefined) return;
  if (configFile === undefined) {
    to.facts.push("configuration: no file, the defaults of this davit");
    return;
  }
  const keys = changedKeys(defaultConfig(), config).map(({ key }) => key);
  const text =
    keys.length === 0
      ? "all keys have this davit's defaults"
      : `not the defaults of this davit: ${keys.join(", ")}`;
  to.facts.push(`configuration: ${configFile} is valid; ${text}`);
}

function examineRecords(root: string, to: Lists): void {
  const path = join(root, "davit.db");
  const records = inspectRecords(path);
  switch (records.kind) {
    case "none":
      to.facts.push(`records: none in ${root}`);
      break;
    case "foreign":
      to.problems.push(`records: ${path} is not a database of davit; move it away`);
      break;
    case "damaged":
      to.problems.push(
        `records: ${path} is damaged (${records.reason}); davit serve would move it aside and begin without pods and images`,
      );
      break;
    case "newer":
      to.problems.push(
        `records: ${path} has schema ${records.schema}, this davit knows up to ${knownSchema}: it cannot read ` +
          `${contents(records)}, and refuses to start. Use the newer davit, or remove all pods with it and move the file away`,
      );
      break;
    case "readable":
      examineReadable(records, path, to);
      break;
  }
}

function examineReadable(
  records: Extract<RecordsInspection, { kind: "readable" }>,
  path: string,
  to: Lists,
): void {
  const { schema, unreadable, counts } = records;
  to.facts.push(`records: ${contents(records)} in ${path}, schema ${schema}`);
  if (schema < knownSchema) {
    to.changes.push(
      `records: schema ${schema} becomes ${knownSchema}; a davit of schema ${schema} cannot start on them afterwards. ` +
        `To be able to go back, stop davit and copy ${path}*`,
    );
  }
  for (const { kind, id, reason } of unreadable) {
    to.problems.push(`records: ${kind} "${id}" cannot be read and would be set aside: ${reason}`);
  }
  if (counts.setAside > 0) {
    to.facts.push(`records: ${counts.setAside} were set aside by an earlier start`);
  }
}

function contents({ counts }: Extract<RecordsInspection, { counts: unknown }>): string {
  const { sandboxes, containers, images } = counts;
  return `${counted(sandboxes, "pod")}, ${counted(containers, "container")} and ${counted(images, "image")}`;
}

/** The entries of a root directory, as this davit makes and reads them. */
const knownEntries =
  /^(davit\.db(-wal|-shm|\.corrupt-.*)?|davit\.lock|install\.json|preloaded\.json|image-uses.*|pod-cidrs.*|layers|roots|history|attachments|archives|verification|checkpoints|lost\+found|\..*)$/;
const knownLayers = /^([0-9a-f]{64}|\..*)$/;

function examineLayout(root: string, to: Lists): void {
  const layers = namesIn(join(root, "layers"));
  to.facts.push(
    `layers: ${layers.filter((name) => !name.startsWith(".")).length} in ${root}/layers`,
  );
  const unknown = [
    ...namesIn(root).filter((name) => !knownEntries.test(name)),
    ...layers.filter((name) => !knownLayers.test(name)).map((name) => `layers/${name}`),
  ];
  if (unknown.length === 0) return;
  const shown = unknown.slice(0, 5).join(", ");
  const more = unknown.length > 5 ? ` and ${unknown.length - 5} more` : "";
  to.facts.push(
    `layout: this davit does not know ${shown}${more} in ${root}, and leaves them alone`,
  );
}

function examineRunning({ root, version }: UpgradeSubject, to: Lists): void {
  const owner = readOwner(root);
  if (owner === undefined) return;
  const named = owner.version === "" ? "a davit" : `davit ${owner.version}`;
  to.facts.push(
    owner.version === version
      ? `running: ${named}, process ${owner.pid}, which is this version`
      : `running: ${named}, process ${owner.pid}; stop it before davit ${version} starts (pods keep running)`,
  );
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).toSorted();
  } catch {
    return [];
  }
}
