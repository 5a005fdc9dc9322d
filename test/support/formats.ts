/**
 * What released versions of davit have left on the disk: `test/fixtures/formats/VERSION` has the root directory of a
 * daemon of that version (root.tar.gz) and what was in it (format.json). `test/support/freeze-format.ts` makes one.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { DatabaseSync, type SQLInputValue, type SQLOutputValue } from "node:sqlite";
import type { TestDaemon } from "./daemon.ts";
import { type TestImage, imageOf, layerOf } from "./images.ts";
import { output } from "./suites/pods.ts";

export const formatsDirectory = path.resolve(import.meta.dirname, "../fixtures/formats");

/** format.json: what the daemon had when it was stopped. */
export interface Format {
  readonly version: string;
  /** The directory of the daemon, whose paths are in the records. */
  readonly directory: string;
  readonly pods: { readonly ready: string; readonly stopped: string };
  readonly containers: {
    readonly running: string;
    readonly exited: string;
    readonly created: string;
  };
  /** The program of the image, which is left out of root.tar.gz: in the layer's directory. */
  readonly program: string;
  /** The files of the running container's bundle. */
  readonly bundle: readonly string[];
  /** Its facts.json. */
  readonly facts: Readonly<Record<string, unknown>>;
}

/** The versions that have a fixture. */
export const formats: readonly string[] = readdirSync(formatsDirectory).toSorted();

export function readFormat(version: string): Format {
  const file = path.join(formatsDirectory, version, "format.json");
  return JSON.parse(readFileSync(file, "utf8")) as Format;
}

/** The image of the fixtures, and its repository. */
export const fixtureImage = "registry.k8s.io/e2e/fixture:1";
export const fixtureRepository = "e2e/fixture";

/** An image with a small busybox, and an upper layer that changes and removes files of the lower one. */
export function makeFixtureImage(): TestImage {
  const directories = ["bin/", "etc/", "proc/", "sys/", "tmp/", "dev/"];
  const links = ["sh", "sleep", "cat", "test"];
  const lower = layerOf([
    ...directories.map((name) => ({ path: name, mode: 0o755 })),
    { path: "bin/busybox", body: readFileSync("/bin/busybox"), mode: 0o755 },
    ...links.map((name) => ({ path: `bin/${name}`, link: "busybox" })),
    { path: "etc/passwd", body: "root:x:0:0:root:/root:/bin/sh\n" },
    { path: "etc/fixture", body: "lower\n" },
    { path: "etc/removed", body: "lower\n" },
    { path: "opaque/", mode: 0o755 },
    { path: "opaque/hidden", body: "lower\n" },
  ]);
  const upper = layerOf([
    { path: "etc/fixture", body: "upper\n" },
    { path: "etc/.wh.removed", body: "" },
    { path: "opaque/", mode: 0o755 },
    { path: "opaque/.wh..wh..opq", body: "" },
  ]);
  return imageOf([lower, upper], { Cmd: ["/bin/sh"], Env: ["PATH=/bin", "FROM_IMAGE=yes"] });
}

/** Prints nothing but "upper" where the layers are as they should be. */
export const checkLayers = "cat /etc/fixture; cat /etc/removed /opaque/hidden 2>/dev/null || true";

/** Extracts the root directory of a fixture for a daemon that does not run. */
export async function extractRoot(format: Format, daemon: TestDaemon): Promise<void> {
  const { root, directory } = daemon.paths;
  mkdirSync(root, { recursive: true });
  const archive = path.join(formatsDirectory, format.version, "root.tar.gz");
  await output("tar", "-xzf", archive, "-C", root, "--xattrs", "--xattrs-include=*");
  copyFileSync("/bin/busybox", path.join(root, format.program));
  using db = new DatabaseSync(path.join(root, "davit.db"));
  for (const [table, columns] of Object.entries(textColumns)) {
    for (const column of columns) {
      db.prepare(`UPDATE ${table} SET ${column} = replace(${column}, ?, ?)`).run(
        format.directory,
        directory,
      );
    }
  }
}

/** The columns with JSON, in which paths of the daemon are. */
const textColumns: Readonly<Record<string, readonly string[]>> = {
  sandbox: ["state"],
  attachment: ["body"],
  container: ["state"],
  image: ["body"],
};

type Row = Record<string, SQLOutputValue>;

/**
 * Gives the records and the bundles of a stopped daemon the form that the fixture's version would have written: its
 * tables, their columns, the keys of their JSON, and the files of a bundle. What the running pods need stays.
 */
export async function writeAsBefore(format: Format, daemon: TestDaemon): Promise<void> {
  writeBundlesAsBefore(format, path.join(daemon.paths.state, "containers"));
  const { root, directory } = daemon.paths;
  const old = path.join(directory, "format");
  mkdirSync(old);
  const archive = path.join(formatsDirectory, format.version, "root.tar.gz");
  await output("tar", "-xzf", archive, "-C", old, "./davit.db");
  const file = path.join(root, "davit.db");
  {
    using live = new DatabaseSync(file, { readOnly: true });
    using before = new DatabaseSync(path.join(old, "davit.db"));
    for (const table of Object.keys(textColumns)) convertTable(live, before, table);
  }
  for (const suffix of ["", "-wal", "-shm"]) rmSync(file + suffix, { force: true });
  copyFileSync(path.join(old, "davit.db"), file);
  rmSync(old, { recursive: true });
}

function writeBundlesAsBefore({ bundle, facts }: Format, directory: string): void {
  for (const id of readdirSync(directory)) {
    for (const name of readdirSync(path.join(directory, id))) {
      if (!bundle.includes(name)) rmSync(path.join(directory, id, name), { recursive: true });
    }
    const file = path.join(directory, id, "facts.json");
    if (!existsSync(file)) continue;
    writeFileSync(file, JSON.stringify(withKeysOf(facts, JSON.parse(readFileSync(file, "utf8")))));
  }
}

function convertTable(live: DatabaseSync, before: DatabaseSync, table: string): void {
  const templates = before.prepare(`SELECT * FROM ${table}`).all() as Row[];
  const rows = live.prepare(`SELECT * FROM ${table} ORDER BY rowid`).all() as Row[];
  before.exec(`DELETE FROM ${table}`);
  for (const row of rows) {
    const template = templates.find((each) => stateOf(each) === stateOf(row)) ?? templates[0];
    if (template === undefined) throw new Error(`the fixture has no row of ${table}`);
    const columns = Object.keys(template);
    const values = columns.map((column) => convert(column, template, row));
    const marks = columns.map(() => "?").join(", ");
    before.prepare(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${marks})`).run(...values);
  }
}

function convert(column: string, template: Row, row: Row): SQLInputValue {
  const old = template[column] ?? null;
  if (column === "version" || !(column in row)) return old;
  const value = row[column] ?? null;
  if (typeof value !== "string" || typeof old !== "string" || !value.startsWith("{")) return value;
  const json = withKeysOf(JSON.parse(old), JSON.parse(value)) as Record<string, unknown>;
  return JSON.stringify({ ...json, v: (JSON.parse(old) as { v: unknown }).v });
}

/** The state in the JSON of a sandbox or a container, such as "ready". */
function stateOf(row: Row): string {
  if (typeof row["state"] !== "string") return "";
  const { state } = JSON.parse(row["state"]) as { state?: Record<string, unknown> };
  return String(state?.["name"]);
}

/** `value` with the keys of `template` only. */
function withKeysOf(template: unknown, value: unknown): unknown {
  if (!isObject(template) || !isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(template).map(([key, old]) => [
      key,
      key in value ? withKeysOf(old, value[key]) : old,
    ]),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
