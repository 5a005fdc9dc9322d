import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { defaultConfig } from "../config/load.ts";
import type { Check, DoctorContext } from "./check.ts";
import { allFindings, checks, examine, ownKinds, type Report } from "./examine.ts";
import type { Catalogue } from "./finding.ts";
import { criStatus, FixtureHost } from "./testing/fixture-host.ts";
import { failingChecks } from "./testing/failing-checks.ts";
import { provocations } from "./testing/provocations.ts";

type Given = Omit<DoctorContext, "skip">;

function contextOf(host: FixtureHost, changes: Partial<DoctorContext> = {}): Given {
  return {
    host,
    config: defaultConfig(),
    configFile: undefined,
    configProblems: [],
    version: "0.1.0",
    probeRegistries: false,
    images: [],
    ...changes,
  };
}

function idsIn({ groups }: Report): readonly string[] {
  return groups.flatMap(({ findings }) => findings.map(({ id }) => id));
}

/** The rows of a catalogue in docs/doctor.md. */
function documentation({ group, kinds }: Catalogue): readonly string[] {
  return Object.entries(kinds)
    .filter(([, { severity }]) => severity !== "ok")
    .map(([name, { severity, why }]) => `| \`${group}.${name}\` | ${severity} | ${why} |`);
}

async function provoke(
  id: string,
): Promise<{ readonly report: Report; readonly host: FixtureHost }> {
  const host = new FixtureHost();
  const changes = provocations[id]?.(host) ?? {};
  return { report: await examine(contextOf(host, changes), { checks, fix: false }), host };
}

describe("examine()", () => {
  test("finds nothing on a machine without problems", async () => {
    const report = await examine(contextOf(new FixtureHost()), { checks, fix: false });
    const wrong = report.groups.flatMap(({ findings }) =>
      findings.filter(({ severity }) => severity !== "ok"),
    );
    assert.deepEqual(wrong, []);
    assert.equal(report.timedOut, false);
  });

  test("has a provocation for each finding, and for nothing else", () => {
    const known = [...Object.keys(provocations), ...Object.keys(failingChecks)];
    assert.deepEqual(known.toSorted(), [...allFindings].sort());
  });

  test("has every finding in docs/doctor.md, with its severity and reason", () => {
    const text = readFileSync(new URL("../../docs/doctor.md", import.meta.url), "utf8");
    const rows = text.split("\n").filter((line) => /^\| `[a-z]+\.[a-z0-9-]+` /.test(line));
    assert.deepEqual(
      rows.map((row) => row.replace(/ +/g, " ")),
      [...checks.map(({ catalogue: kinds }) => kinds), ownKinds].flatMap(documentation),
    );
  });

  for (const id of allFindings.filter((each) => !each.startsWith("doctor."))) {
    test(`finds ${id}`, async () => {
      const { report } = await provoke(id);
      assert.ok(idsIn(report).includes(id), `found only ${idsIn(report).join(", ")}`);
      const all = report.groups.flatMap(({ findings }) => findings);
      for (const finding of all) {
        assert.ok(allFindings.includes(finding.id), finding.id);
        assert.notEqual(finding.found.trim(), "", finding.id);
        assert.equal(finding.severity === "ok", finding.why === "", finding.id);
        // Errors and warnings have a fix; a note may be for information only.
        const needsFix = finding.severity === "error" || finding.severity === "warning";
        assert.ok(!needsFix || finding.fix !== undefined, `${finding.id} has no fix`);
      }
    });
  }

  for (const [id, failing] of Object.entries(failingChecks)) {
    test(`finds ${id} and runs the other checks`, async () => {
      const check: Check = { group: "failing", title: "Failing", catalogue: ownKinds, ...failing };
      const [first] = checks;
      assert.ok(first);
      const context = contextOf(new FixtureHost());
      const report = await examine(context, { checks: [check, first], fix: true });
      assert.ok(idsIn(report).includes(id), idsIn(report).join(", "));
      assert.ok(idsIn(report).includes("configuration.fine"));
      assert.equal(report.timedOut, id === "doctor.late");
    });
  }

  test("reports what it skips without root, and does not probe it", async () => {
    const host = new FixtureHost();
    host.isRoot = false;
    host.overlayProblem = "EPERM";
    host.iptablesProblem = "EPERM";
    const report = await examine(contextOf(host), { checks, fix: false });
    for (const word of ["capabilities", "disk", "network"]) {
      assert.ok(
        report.skipped.some((what) => what.startsWith(`${word}:`)),
        `${word} is not in ${report.skipped.join("; ")}`,
      );
    }
    const wrong = idsIn(report).filter((id) => /refused|broken/.test(id));
    assert.deepEqual(wrong, []);
  });

  test("finds a module that is not loaded yet", async () => {
    const host = new FixtureHost();
    host.files.set("/proc/filesystems", "\text4\n");
    const modules = "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/fs/erofs/erofs.ko.xz:\n";
    host.files.set(`/lib/modules/${host.kernelRelease}/modules.dep`, modules);
    const report = await examine(contextOf(host), { checks, fix: false });
    assert.deepEqual(
      idsIn(report).filter((id) => id.startsWith("kernel.")),
      ["kernel.fine"],
    );
  });

  const proxies: Readonly<Record<string, string>> = {
    "http://proxy:3128": "http://proxy:3128",
    "http://user:s3cret@proxy:3128": "http://***@proxy:3128",
    "http://user:s3@cret@proxy:3128": "http://***@proxy:3128",
    "http://user:s3/c@ret@proxy:3128/": "http://***@proxy:3128/",
    "user:s3@cret@proxy:3128": "***@proxy:3128",
  };
  for (const [given, shown] of Object.entries(proxies)) {
    test(`shows the proxy ${given} as ${shown}`, async () => {
      const host = new FixtureHost();
      host.env = { HTTPS_PROXY: given };
      const context = contextOf(host, { probeRegistries: true });
      const { groups } = await examine(context, { checks, fix: false });
      const all = groups.flatMap(({ findings }) => findings);
      const proxied = all.find(({ id }) => id === "registries.proxied");
      assert.ok(proxied?.found.startsWith(`HTTPS_PROXY=${shown} in this`), proxied?.found);
    });
  }

  test("reports a lost plugin of the node for as long as only a restart of davit brings it back", async () => {
    const lost = { plugin: "10-topology", reason: "no answer", dropped: true, atMs: 0 };
    const found = async (external: boolean, plugins: readonly object[]) => {
      const host = new FixtureHost();
      host.cri = criStatus({ nri: { plugins, failures: [{ ...lost, external }] } });
      const { groups } = await examine(contextOf(host), { checks, fix: false });
      return groups
        .flatMap(({ findings }) => findings)
        .find(({ id }) => id === "daemon.nri-plugin-lost");
    };
    assert.match(JSON.stringify((await found(false, []))?.fix), /restart davit/);
    assert.equal(await found(true, []), undefined);
    assert.equal(await found(false, [{ name: "10-topology" }]), undefined);
  });

  test("accepts processes in the root of v2, which has no cgroup.type", async () => {
    const host = new FixtureHost();
    host.files.set("/sys/fs/cgroup/cgroup.subtree_control", "\n");
    host.files.set("/sys/fs/cgroup/cgroup.procs", "1\n");
    const report = await examine(contextOf(host), { checks, fix: false });
    assert.ok(idsIn(report).includes("cgroups.fine"));
  });
});

describe("examine() with fix", () => {
  const fixes: Readonly<Record<string, readonly string[]>> = {
    "cgroups.hybrid-controller": [
      "mkdir /sys/fs/cgroup/hugetlb",
      "mount -t cgroup -o hugetlb cgroup /sys/fs/cgroup/hugetlb",
    ],
    "disk.directory-missing": ["mkdir /var/lib/davit"],
    "network.forwarding-off": ["write /proc/sys/net/ipv4/ip_forward"],
    "network.forwarding-later": ["write /proc/sys/net/ipv4/ip_forward"],
    "sockets.stale": ["remove /run/davit/davit.sock"],
    "leftovers.doctor-scratch": [
      "umount -l /tmp/davit-doctor-4242-abc/ns",
      "remove /tmp/davit-doctor-4242-abc",
    ],
  };

  for (const id of allFindings.filter((each) => provocations[each] !== undefined)) {
    test(`${fixes[id] === undefined ? "does not change the host for" : "fixes"} ${id}`, async () => {
      const host = new FixtureHost();
      const changes = provocations[id]?.(host) ?? {};
      const report = await examine(contextOf(host, changes), { checks, fix: true });
      const done = fixes[id] ?? [];
      if (done.length === 0) {
        // Other problems of the same provocation may be fixed.
        assert.deepEqual(
          host.changes.filter((change) => !Object.values(fixes).flat().includes(change)),
          [],
        );
        return;
      }
      assert.deepEqual(host.changes, done);
      assert.equal(report.fixed.length, 1);
      assert.ok(!idsIn(report).includes(id), `${id} is still there`);
    });
  }

  for (const id of Object.keys(fixes)) {
    test(`reports that the fix of ${id} failed`, async () => {
      const host = new FixtureHost();
      const changes = provocations[id]?.(host) ?? {};
      host.changeError = new Error("EROFS: read-only file system");
      const report = await examine(contextOf(host, changes), { checks, fix: true });
      assert.deepEqual(report.fixed, []);
      assert.ok(idsIn(report).includes("doctor.fix-failed"));
      assert.ok(idsIn(report).includes(id));
    });
  }

  test("does not remove a socket on which a server listens by now", async () => {
    const host = new FixtureHost();
    let probes = 0;
    host.probeConnect = (): Promise<"open" | "refused"> => {
      probes += 1;
      return Promise.resolve(probes > 1 ? "open" : "refused");
    };
    const sockets = checks.filter(({ group }) => group === "sockets");
    const report = await examine(contextOf(host), { checks: sockets, fix: true });
    assert.deepEqual(host.changes, []);
    assert.ok(idsIn(report).includes("doctor.fix-failed"));
  });
});
