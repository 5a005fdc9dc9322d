import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, describe, test } from "node:test";
import { silentLogger } from "../base/logger.ts";
import { defaultConfig, parseConfig } from "../config/load.ts";
import { knownSchema, Records } from "../drivers/records/index.ts";
import { lockFile } from "../linux/file/index.ts";
import { examineUpgrade, recordedPods, type UpgradeReport } from "./upgrade.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-upgrade-"));
after(() => rmSync(directory, { recursive: true }));

let count = 0;
/** A root directory with a database, on which `change` was run. */
async function rootWith(change = ""): Promise<string> {
  const root = join(directory, String(count++));
  mkdirSync(join(root, "layers"), { recursive: true });
  await Records.open(join(root, "davit.db"), { logger: silentLogger })[Symbol.asyncDispose]();
  using db = new DatabaseSync(join(root, "davit.db"));
  if (change !== "") db.exec(change);
  return root;
}

function examine(root: string, options: { config?: string } = {}): UpgradeReport {
  const config = options.config === undefined ? defaultConfig() : parseConfig(options.config, "f");
  const configFile = options.config === undefined ? undefined : "/etc/davit/davit.toml";
  return examineUpgrade({ root, config, configFile, configProblems: [], version: "0.2.0" });
}

/** What is in a directory, with the times of the last changes. */
function contents(root: string): readonly (readonly [string, number])[] {
  return readdirSync(root).map((name) => [name, statSync(join(root, name)).mtimeMs]);
}

const newPod = `INSERT INTO sandbox (id, name, version, recorded_at, request, state)
  VALUES ('pod-1', 'web', 9, 0, x'', '{}')`;

describe("examineUpgrade()", () => {
  test("takes over records of its own schema and changes nothing", async () => {
    const root = await rootWith();
    const before = contents(root);
    const { problems, changes, facts } = examine(root);
    assert.deepEqual([problems, changes], [[], []]);
    assert.ok(facts.some((fact) => fact.includes(`0 pods, 0 containers and 0 images in ${root}`)));
    assert.deepEqual(contents(root), before);
  });

  test("says what it converts, and that an earlier davit cannot read it afterwards", async () => {
    const { problems, changes } = examine(await rootWith("UPDATE meta SET schema = 2"));
    assert.deepEqual(problems, []);
    assert.match(changes.join("\n"), /schema 2 becomes \d; a davit of schema 2 cannot start/);
  });

  test("reports records of a newer davit, with what is in them", async () => {
    const root = await rootWith(`${newPod}; UPDATE meta SET schema = 99`);
    const before = contents(root);
    const { problems } = examine(root);
    assert.match(
      problems.join("\n"),
      /schema 99, this davit knows up to \d+: it cannot read 1 pod,/,
    );
    assert.deepEqual(contents(root), before);
    assert.equal(recordedPods(root), 1);
    // davit serve refuses them as well, and changes nothing.
    assert.throws(
      () => Records.open(join(root, "davit.db"), { logger: silentLogger }),
      /schema version 99.*cannot read its records of 1 pods, 0 containers, 0 images, and has changed nothing/,
    );
    assert.equal(recordedPods(root), 1);
    assert.equal(knownSchema < 99, true);
  });

  test("names records that would be set aside", async () => {
    const { problems } = examine(await rootWith(newPod));
    assert.match(problems.join("\n"), /sandbox "pod-1" cannot be read.*version must be 1; it is 9/);
  });

  for (const [what, text] of [
    ["a damaged database", "not a database at all, but long enough to be looked at as one"],
  ] as const) {
    test(`reports ${what}`, () => {
      const root = join(directory, String(count++));
      mkdirSync(root);
      writeFileSync(join(root, "davit.db"), text);
      assert.match(examine(root).problems.join("\n"), /is damaged/);
      assert.throws(() => recordedPods(root), /davit\.db": it is damaged .* pods may run/);
    });
  }

  test("names keys that differ from the defaults, and errors of the configuration", () => {
    const { facts } = examine(directory, { config: '[log]\nlevel = "debug"' });
    assert.match(facts.join("\n"), /not the defaults of this davit: log\.level/);
    const configProblems = ['davit.toml:1: unknown key "lgo"'];
    const subject = { root: directory, config: undefined, configFile: "f", version: "1" };
    const { problems } = examineUpgrade({ ...subject, configProblems });
    assert.deepEqual(problems, ['configuration: davit.toml:1: unknown key "lgo"']);
  });

  test("names the daemon that uses the directory, and entries that it does not know", async () => {
    const root = await rootWith();
    for (const name of ["layers/future", "checkpoints"]) mkdirSync(join(root, name));
    writeFileSync(join(root, "pod-cidrs"), "10.1.0.0/24\n");
    using lock = lockFile(join(root, "davit.lock"), "0.1.0");
    const { facts } = examine(root);
    assert.ok(lock !== undefined);
    assert.match(
      facts.join("\n"),
      new RegExp(`davit 0.1.0, process ${process.pid}; stop it before`),
    );
    assert.match(facts.join("\n"), /does not know layers\/future in/);
  });
});
