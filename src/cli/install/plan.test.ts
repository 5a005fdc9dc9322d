import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { Rollback } from "../../base/rollback.ts";
import { applyItems } from "./apply.ts";
import { lastingHome, ownHome } from "./layout.ts";
import { type Item, planInstall, type PlanFacts } from "./plan.ts";
import { hashOf, type InstallRecord } from "./record.ts";
import { programOf, readTemplates, type TemplateFacts } from "./templates.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-install-"));
after(() => rmSync(directory, { recursive: true }));

let count = 0;
/** An empty tree, with these files in it. */
function treeWith(files: Readonly<Record<string, string>> = {}): string {
  const root = join(directory, String(count++));
  mkdirSync(root);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const templateFacts: TemplateFacts = {
  from: ownHome(),
  home: "/opt/davit",
  node: undefined,
  socket: "/run/davit/davit.sock",
  systemdCgroups: false,
  subnet: undefined,
};

function factsOf(root: string, changes: Partial<PlanFacts> = {}): PlanFacts {
  return {
    ...{ root, home: "/opt/davit", record: undefined, templates: readTemplates(templateFacts) },
    ...{ network: { bridge: true }, confDir: "/etc/cni/net.d", searchPath: "/usr/bin" },
    ...changes,
  };
}

const blank: InstallRecord = {
  ...{ format: 1, version: "0.1.0", home: "/opt/davit", files: {}, links: {}, directories: [] },
  ...{ enabled: false, chainsBefore: [] },
};

async function apply(root: string, items: readonly Item[], record = blank): Promise<InstallRecord> {
  await using undo = new Rollback();
  const made = applyItems(items, record, { root, undo });
  undo.commit();
  return made;
}

function actions(items: readonly Item[]): Readonly<Record<string, string>> {
  return Object.fromEntries(items.map(({ path, action }) => [path, action]));
}

const unit = "/etc/systemd/system/davit.service";
const conflist = "/etc/cni/net.d/10-davit.conflist";

test("lastingHome() is the link that an upgrade sets, if it leads to this davit", () => {
  const opt = realpathSync(treeWith({ "/davit-1/bin/davit": "", "/davit-2/bin/davit": "" }));
  const [first, second, link] = [join(opt, "davit-1"), join(opt, "davit-2"), join(opt, "davit")];
  assert.equal(lastingHome(first), first);
  symlinkSync("davit-1", link);
  assert.deepEqual([lastingHome(first), lastingHome(second)], [link, second]);
  rmSync(link);
  symlinkSync("nowhere", link);
  assert.equal(lastingHome(first), first);
  // A checkout in /opt/davit is not a link.
  assert.equal(lastingHome("/opt/davit"), "/opt/davit");
});

describe("planInstall()", () => {
  test("writes everything on an empty machine, and nothing the second time", async () => {
    const root = treeWith();
    const items = planInstall(factsOf(root));
    assert.ok(items.every(({ action }) => action === "create"));
    const record = await apply(root, items);
    assert.equal(programOf(readFileSync(join(root, unit), "utf8")), "/opt/davit/bin/davit");
    assert.deepEqual(record.directories.slice(0, 3), ["/etc", "/etc/davit", "/etc/davit/certs.d"]);
    const again = planInstall(factsOf(root, { record }));
    assert.deepEqual(new Set(again.map(({ action }) => action)), new Set(["keep"]));
    assert.ok(again.every(({ differs, problem }) => differs !== true && problem !== true));
  });

  test("updates what nobody has changed after an upgrade, and keeps and names the rest", async () => {
    const root = treeWith();
    const record = await apply(root, planInstall(factsOf(root)));
    writeFileSync(join(root, "/etc/davit/davit.toml"), 'root = "/var/lib/davit"\n');
    const home = "/opt/davit-2";
    const templates = readTemplates({ ...templateFacts, home });
    const items = planInstall(factsOf(root, { record, home, templates }));
    assert.deepEqual(actions(items), {
      ...{ "/etc/davit/certs.d": "keep", "/etc/davit/davit.toml": "keep", [conflist]: "keep" },
      ...{ "/etc/crictl.yaml": "keep", [unit]: "update", "/usr/local/bin/davit": "update" },
    });
    const config = items.find(({ path }) => path === "/etc/davit/davit.toml");
    assert.equal(config?.differs, true);
    assert.match(config.why, /changed on this node; compare it with \/opt\/davit-2\/packaging/);
    await apply(root, items, record);
    assert.equal(programOf(readFileSync(join(root, unit), "utf8")), "/opt/davit-2/bin/davit");
  });

  for (const name of ["10-calico.conflist", "87-podman.conf", "x.json"]) {
    test(`writes no network beside ${name}`, () => {
      const root = treeWith({ [`/etc/cni/net.d/${name}`]: "{}" });
      const item = planInstall(factsOf(root)).find(({ path }) => path === conflist);
      assert.equal(item?.action, "leave out");
      assert.match(item.why, new RegExp(name));
    });
  }

  test("leaves the network to the cluster", () => {
    const network = { bridge: false, why: "a cluster" } as const;
    const item = planInstall(factsOf(treeWith(), { network })).find(
      ({ path }) => path === conflist,
    );
    assert.deepEqual([item?.action, item?.why], ["leave out", "a cluster"]);
  });

  test("keeps files that others have made, and says so", () => {
    const root = treeWith({ "/etc/crictl.yaml": "runtime-endpoint: unix:///run/crio.sock\n" });
    const item = planInstall(factsOf(root)).find(({ path }) => path === "/etc/crictl.yaml");
    assert.deepEqual([item?.action, item?.differs], ["keep", true]);
    assert.match(item?.why ?? "", /was not made by davit install/);
  });

  test("reports another davit in the unit and on the PATH", () => {
    const root = treeWith({
      [unit]: "[Service]\nExecStart=/srv/old/bin/davit serve\n",
      "/usr/bin/davit": "#!/bin/sh\n",
    });
    const problems = planInstall(factsOf(root)).filter(({ problem }) => problem === true);
    assert.deepEqual(
      problems.map(({ path }) => path),
      [unit, "/usr/local/bin/davit"],
    );
    assert.match(problems[0]?.why ?? "", /another davit, \/srv\/old\/bin\/davit/);
  });

  test("leaves the unit to a package that starts this davit", () => {
    const root = treeWith({
      "/usr/lib/systemd/system/davit.service": "[Service]\nExecStart=/usr/bin/davit serve\n",
      "/usr/lib/davit/bin/davit": "#!/bin/sh\n",
    });
    mkdirSync(join(root, "usr/bin"));
    symlinkSync("../lib/davit/bin/davit", join(root, "usr/bin/davit"));
    const items = planInstall(factsOf(root, { home: "/usr/lib/davit" }));
    assert.equal(actions(items)[unit], "leave out");
    assert.equal(actions(items)["/usr/local/bin/davit"], "leave out");
    assert.ok(items.every(({ problem }) => problem !== true));
  });
});

describe("applyItems()", () => {
  test("undoes what it has made, also in part, and restores what it has changed", async () => {
    const root = treeWith({ "/etc/old": "before" });
    const item = { kind: "file", why: "" } as const;
    const items: Item[] = [
      { ...item, action: "update", path: "/etc/old", content: "after" },
      { ...item, action: "create", path: "/a/b/new", content: "new" },
      // A file is where a directory should be.
      { ...item, action: "create", path: "/etc/old/below", content: "" },
    ];
    await assert.rejects(async () => {
      await using undo = new Rollback();
      applyItems(items, blank, { root, undo });
    }, /make the directory|write/);
    assert.equal(readFileSync(join(root, "etc/old"), "utf8"), "before");
    assert.throws(() => readFileSync(join(root, "a")), /ENOENT/);
  });

  test("records the hash of each file", async () => {
    const root = treeWith();
    const record = await apply(root, planInstall(factsOf(root)));
    const text = readFileSync(join(root, conflist), "utf8");
    assert.equal(record.files[conflist], hashOf(text));
  });
});

describe("readTemplates()", () => {
  test("fills in program, Node.js, socket, subnet and cgroup driver", () => {
    const {
      unit: text,
      config,
      crictl,
      conflist: network,
    } = readTemplates({
      ...templateFacts,
      ...{ home: "/srv/my davit", node: "/root/.nvm/node", socket: "/run/x.sock" },
      ...{ systemdCgroups: true, subnet: "10.99.0.0/24" },
    });
    assert.match(
      text,
      /^Environment=DAVIT_NODE=\/root\/\.nvm\/node\nExecStart="\/srv\/my davit\/bin\/davit" serve$/m,
    );
    assert.equal(programOf(text), "/srv/my davit/bin/davit");
    assert.match(config, /^cgroup_driver = "systemd"$/m);
    assert.match(crictl, /^runtime-endpoint: unix:\/\/\/run\/x\.sock$/m);
    assert.match(network, /10\.99\.0\.0\/24/);
    assert.doesNotMatch(network, /10\.87\.0\.0/);
  });
});
