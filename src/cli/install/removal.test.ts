import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { parseConfig } from "../../config/load.ts";
import { hashOf, type InstallRecord, parseRecord } from "./record.ts";
import { hasOnlyAddresses, parseNetwork, planRemoval } from "./removal.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-uninstall-"));
after(() => rmSync(directory, { recursive: true }));

const made: InstallRecord = {
  ...{ format: 1, version: "0.1.0", home: "/opt/davit", enabled: true, chainsBefore: [] },
  files: { "/etc/crictl.yaml": hashOf("ours"), "/etc/davit/davit.toml": hashOf("ours") },
  links: { "/usr/local/bin/davit": "/opt/davit/bin/davit" },
  directories: ["/etc/davit"],
};

let count = 0;
function plan(
  files: Readonly<Record<string, string>>,
  options: { readonly all?: boolean; readonly config?: string; readonly link?: string } = {},
): Readonly<Record<string, string>> {
  const root = join(directory, String(count++));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  mkdirSync(join(root, "usr/local/bin"), { recursive: true });
  if (options.link !== undefined) symlinkSync(options.link, join(root, "usr/local/bin/davit"));
  const config = parseConfig(options.config ?? "", "test");
  const items = planRemoval({ root, record: made, config, all: options.all ?? false });
  return Object.fromEntries(items.map(({ what, action, why }) => [what, `${action}: ${why}`]));
}

describe("planRemoval()", () => {
  test("removes what is unchanged, and keeps what was changed", () => {
    const found = plan({ "/etc/crictl.yaml": "ours", "/etc/davit/davit.toml": "theirs" });
    assert.match(found["/etc/crictl.yaml"] ?? "", /^remove/);
    assert.match(found["/etc/davit/davit.toml"] ?? "", /^keep: changed .*--all removes it/);
    assert.match(found["/etc/davit"] ?? "", /removed if it is empty/);
  });

  test("with all, removes changed files and the directories of davit, and nothing of others", () => {
    const files = { "/etc/davit/davit.toml": "theirs", "/data/precious": "", "/run/davit/x": "" };
    const found = plan(files, { all: true, config: 'root = "/data"' });
    assert.match(found["/etc/davit/davit.toml"] ?? "", /^remove: .*--all/);
    assert.match(found["/run/davit"] ?? "", /^remove/);
    assert.match(found["/data"] ?? "", /^keep: .*may have files of others/);
  });

  test("with all, removes what an operator has copied from packaging", () => {
    const unit = "/etc/systemd/system/davit.service";
    const files = { [unit]: "[Unit]", "/etc/cni/net.d/10-davit.conflist": "{}" };
    assert.match(plan(files, { all: true })[unit] ?? "", /^remove: davit's by its name/);
    assert.equal(plan(files)[unit], undefined);
  });

  test("keeps directories behind links that lead to what may be of others", () => {
    const root = join(directory, String(count++));
    const outside = join(directory, "outside");
    for (const path of [join(root, "var/lib"), join(root, "data"), join(outside, "davit")]) {
      mkdirSync(path, { recursive: true });
    }
    // As an absolute /var/run in the tree of another machine, and a root that was moved to a disk.
    symlinkSync(outside, join(root, "run"));
    symlinkSync("../../data", join(root, "var/lib/davit"));
    const facts = { root, record: undefined, config: parseConfig("", "test"), all: true };
    assert.deepEqual(
      planRemoval(facts).map(({ action, what, why }) => [action, what, why.slice(0, 12)]),
      [
        ["keep", "/run/davit", "a link leads"],
        ["keep", "/var/lib/davit", "davit's dire"],
      ],
    );
  });

  test("with all, removes the log of a daemon without systemd", () => {
    const files = { "/var/log/davit.log": "line", "/var/log/other.log": "line" };
    assert.match(plan(files, { all: true })["/var/log/davit.log"] ?? "", /^remove/);
    assert.equal(plan(files)["/var/log/davit.log"], undefined);
    assert.equal(plan(files, { all: true })["/var/log/other.log"], undefined);
  });

  test("keeps a link that points to another davit by now", () => {
    const path = "/usr/local/bin/davit";
    assert.match(plan({}, { link: "/opt/davit/bin/davit" })[path] ?? "", /^remove/);
    assert.match(plan({}, { link: "/srv/davit/bin/davit" })[path] ?? "", /^keep/);
  });
});

describe("hasOnlyAddresses()", () => {
  test("is true for what host-local makes, and for nothing else", () => {
    const path = join(directory, "addresses");
    mkdirSync(path);
    for (const name of ["10.88.0.2", "fd00::2", "last_reserved_ip.0", "lock"]) {
      writeFileSync(join(path, name), "");
    }
    assert.equal(hasOnlyAddresses(path), true);
    writeFileSync(join(path, "passwd"), "");
    assert.equal(hasOnlyAddresses(path), false);
    assert.equal(hasOnlyAddresses(join(path, "absent")), false);
  });
});

describe("parseNetwork()", () => {
  test("reads name, bridge and the directory of addresses", () => {
    const ipam = { type: "host-local", dataDir: "/run/ipam" };
    const plugins = [{ type: "bridge", bridge: "davit0", ipam }, { type: "portmap" }];
    assert.deepEqual(parseNetwork(JSON.stringify({ name: "davit", plugins })), {
      ...{ name: "davit", bridge: "davit0", addresses: "/run/ipam/davit" },
    });
  });

  for (const text of [
    "",
    "{}",
    "null",
    '{"name":"../x","plugins":[{"type":"bridge","bridge":"b"}]}',
  ]) {
    test(`finds no network of its own in ${text}`, () => {
      assert.equal(parseNetwork(text), undefined);
    });
  }
});

describe("parseRecord()", () => {
  test("reads a record, and refuses one of a newer davit and a damaged one", () => {
    assert.deepEqual(parseRecord(JSON.stringify(made), "r"), made);
    const newer = JSON.stringify({ ...made, format: 2, version: "9.0.0" });
    assert.throws(() => parseRecord(newer, "r"), /davit 9\.0\.0 made it in format 2/);
    assert.throws(() => parseRecord('{"format":1}', "r"), /it is damaged/);
    assert.throws(() => parseRecord("{", "r"), /move it away/);
  });
});
