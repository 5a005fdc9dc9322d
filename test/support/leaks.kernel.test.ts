import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { DatabaseSync } from "node:sqlite";
import { until } from "../../src/linux/testing/leaks.ts";
import { testMark } from "./belongs.ts";
import {
  describeLeaks,
  diffSnapshots,
  findLeaks,
  type LeakCheckOptions,
  type LeakKind,
  takeSnapshot,
  withLeakCheck,
} from "./leaks.ts";
import { anyHierarchy } from "./stranger.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-leaks-"));
after(() => rmSync(directory, { recursive: true }));

const root = path.join(directory, "root");
const cni = path.join(directory, "cni");
const database = path.join(directory, "records.db");
const options: LeakCheckOptions = {
  processes: "own",
  cgroups: (cgroup) => cgroup.includes(`${testMark}-leaks`),
  cniDirs: [cni],
  daemonPid: process.pid,
  database,
  roots: [root],
  settleMs: 0,
};

/** A thing that can be left behind: how to make it, the names it is found by, how to remove it. */
interface Planted {
  readonly kind: LeakKind;
  readonly names: readonly RegExp[];
  readonly plant: () => void | Promise<void>;
  readonly remove: () => void | Promise<void>;
  /** Other kinds that come with it: a link's address. */
  readonly brings?: readonly LeakKind[];
}

const ip = (...args: string[]): Buffer => execFileSync("ip", args);
const sh = (script: string): Buffer => execFileSync("sh", ["-c", script], { stdio: "pipe" });
const mountPoint = path.join(directory, "mount point");
const pinned = path.join(directory, "netns");
const cgroup = path.join(anyHierarchy(), `${testMark}-leaks`);
const temporary = `/tmp/${testMark}-leaks`;
const server = createServer();
let child: ChildProcess | undefined;
let descriptor = -1;
let queue = "";

const all: readonly Planted[] = [
  {
    kind: "process",
    names: [/^sleep pid \d+ started \d+: sleep 300$/],
    plant: () => {
      child = spawn("sleep", ["300"], { stdio: "ignore" });
      return new Promise((resolve) => child?.once("spawn", resolve));
    },
    remove: () => kill(child),
  },
  {
    kind: "mount",
    names: [/mount point \(tmpfs davit-planted\)$/],
    plant: () => {
      mkdirSync(mountPoint);
      execFileSync("mount", ["-t", "tmpfs", "davit-planted", mountPoint]);
    },
    remove: () => {
      execFileSync("umount", [mountPoint]);
      rmdirSync(mountPoint);
    },
  },
  {
    kind: "namespace",
    names: [/\/netns \(net\)$/],
    plant: () => {
      writeFileSync(pinned, "");
      execFileSync("unshare", [`--net=${pinned}`, "true"]);
    },
    remove: () => {
      execFileSync("umount", [pinned]);
      rmSync(pinned);
    },
  },
  {
    kind: "namespace",
    names: [/^\/run\/netns\/davit-planted \(net\)$/, /^\/run\/netns\/davit-planted \(name\)$/],
    // The directory of names becomes a mount of its own at the first use, and stays one.
    brings: ["mount"],
    plant: () => void ip("netns", "add", "davit-planted"),
    remove: () => {
      ip("netns", "delete", "davit-planted");
      execFileSync("umount", ["/run/netns"]);
    },
  },
  {
    kind: "cgroup",
    names: [/davit-\w+-leaks$/],
    plant: () => mkdirSync(cgroup, { recursive: false }),
    remove: () => rmdirSync(cgroup),
  },
  {
    kind: "link",
    names: [/^dvt-a \(veth\)$/, /^dvt-b \(veth\)$/, /^dvt-br \(bridge\)$/],
    plant: () => {
      ip("link", "add", "dvt-a", "type", "veth", "peer", "name", "dvt-b");
      ip("link", "add", "dvt-br", "type", "bridge");
    },
    remove: () => {
      ip("link", "delete", "dvt-a");
      ip("link", "delete", "dvt-br");
    },
  },
  {
    kind: "address",
    names: [/^10\.99\.0\.1\/24 on lo$/],
    brings: ["route"],
    plant: () => void ip("address", "add", "10.99.0.1/24", "dev", "lo"),
    remove: () => void ip("address", "delete", "10.99.0.1/24", "dev", "lo"),
  },
  {
    kind: "route",
    names: [/10\.98\.0\.0\/24 dev lo/],
    plant: () => void ip("route", "add", "10.98.0.0/24", "dev", "lo"),
    remove: () => void ip("route", "delete", "10.98.0.0/24", "dev", "lo"),
  },
  {
    kind: "iptables",
    names: [
      /^iptables-save nat :DVT -$/,
      /^iptables-save nat -A POSTROUTING -s 10\.97\.0\.0\/24 -j DVT$/,
    ],
    brings: ["nft"],
    plant: () =>
      void sh("iptables -t nat -N DVT && iptables -t nat -A POSTROUTING -s 10.97.0.0/24 -j DVT"),
    remove: () => void sh("iptables -t nat -D POSTROUTING 1 && iptables -t nat -X DVT"),
  },
  {
    kind: "iptables",
    names: [/^ip6tables-save filter -A FORWARD -s fd00:97::\/64 -j DROP$/],
    brings: ["nft"],
    plant: () => void sh("ip6tables -A FORWARD -s fd00:97::/64 -j DROP"),
    remove: () => void sh("ip6tables -D FORWARD 1"),
  },
  {
    kind: "nft",
    names: [/^table inet dvt \/ chain c: .*counter accept$/, /^table inet dvt \/ set s$/],
    plant: () =>
      void sh(
        "nft add table inet dvt; nft add chain inet dvt c; nft add set inet dvt s '{ type ipv4_addr; }'; nft add rule inet dvt c ip saddr 10.96.0.1 counter accept",
      ),
    remove: () => void sh("nft delete table inet dvt"),
  },
  {
    kind: "cni",
    names: [/networks\/net\/10\.0\.0\.2$/],
    plant: () => {
      mkdirSync(path.join(cni, "networks/net"), { recursive: true });
      for (const file of ["10.0.0.2", "lock", "last_reserved_ip.0"]) {
        writeFileSync(path.join(cni, "networks/net", file), "");
      }
    },
    remove: () => rmSync(cni, { recursive: true }),
  },
  {
    kind: "fd",
    names: [/^\/dev\/null$/],
    plant: () => {
      descriptor = openSync("/dev/null", "r");
    },
    remove: () => closeSync(descriptor),
  },
  {
    kind: "fd",
    names: [/^socket .*\/planted\.sock$/],
    plant: () =>
      new Promise((resolve) => {
        server.listen(path.join(directory, "planted.sock"), () => resolve());
      }),
    remove: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
      }),
  },
  {
    kind: "row",
    names: [/^table containers$/],
    plant: () =>
      sql("CREATE TABLE containers (id TEXT); INSERT INTO containers VALUES ('a'), ('b')"),
    remove: () => sql("DELETE FROM containers"),
  },
  {
    kind: "file",
    names: [/root\/sandboxes\/$/, /root\/sandboxes\/hosts$/],
    plant: () => {
      mkdirSync(path.join(root, "sandboxes"), { recursive: true });
      writeFileSync(path.join(root, "sandboxes/hosts"), "");
    },
    remove: () => rmSync(root, { recursive: true }),
  },
  {
    kind: "file",
    names: [/^\/tmp\/davit-\w+-leaks$/],
    plant: () => writeFileSync(temporary, ""),
    remove: () => rmSync(temporary),
  },
  {
    kind: "ipc",
    names: [/^msg id \d+ key -?\d+$/],
    plant: () => {
      queue = /\d+$/.exec(sh("ipcmk --queue").toString().trim())?.[0] ?? "";
    },
    remove: () => void sh(`ipcrm --queue-id ${queue}`),
  },
];

describe("takeSnapshot()", () => {
  for (const { kind, names, plant, remove, brings = [] } of all) {
    test(`finds a left ${kind} by name: ${names.join(" ")}`, async () => {
      const before = await takeSnapshot(options);
      await plant();
      let leaks = await findLeaks(before, options);
      await remove();
      leaks = leaks.filter((leak) => !brings.includes(leak.kind));
      assert.ok(leaks.length >= names.length, describeLeaks(leaks));
      for (const leak of leaks) {
        assert.equal(leak.kind, kind, describeLeaks(leaks));
        assert.ok(leak.count > 0);
      }
      for (const name of names) {
        assert.ok(
          leaks.some((leak) => name.test(leak.name)),
          `${name} in:\n${describeLeaks(leaks)}`,
        );
      }
      // A process that was killed is reaped a moment later: the only one that needs time.
      assert.equal(describeLeaks(await findLeaks(before, { ...options, settleMs: 2000 })), "");
    });
  }

  test("finds an orphan by the mark in its environment", async () => {
    const before = await takeSnapshot(options);
    const pid = Number(sh("setsid sleep 301 >/dev/null 2>&1 & echo $!").toString());
    // The shell does not wait for it, and during execve(2) a process has no environment.
    const read = (name: string): string => readFileSync(`/proc/${pid}/${name}`, "latin1");
    await until("sleep runs", () => read("cmdline").startsWith("sleep") && read("environ") !== "");
    const [leak, ...more] = await findLeaks(before, options);
    process.kill(pid, "SIGKILL");
    assert.match(leak?.name ?? "", /sleep 301$/);
    assert.deepEqual(more, []);
    assert.deepEqual(await findLeaks(before, { ...options, settleMs: 2000 }), []);
  });

  test("covers every kind of leak with a planted one", async () => {
    const planted = new Set(all.map(({ kind }) => kind));
    for (const kind of Object.keys(await takeSnapshot()))
      assert.ok(planted.has(kind as LeakKind), kind);
  });
});

describe("diffSnapshots()", () => {
  test("counts equal names, and tells what is gone", async () => {
    const before = await takeSnapshot(options);
    const first = openSync("/dev/zero", "r");
    const second = openSync("/dev/zero", "r");
    const between = await takeSnapshot(options);
    closeSync(first);
    closeSync(second);
    assert.equal(describeLeaks(diffSnapshots(before, between)), "+ fd /dev/zero (2 times)");
    assert.deepEqual(diffSnapshots(between, before), [], "a closed descriptor is not a leak");

    ip("route", "add", "10.95.0.0/24", "dev", "lo");
    const withRoute = await takeSnapshot(options);
    ip("route", "delete", "10.95.0.0/24", "dev", "lo");
    const [gone] = diffSnapshots(withRoute, await takeSnapshot(options));
    assert.equal(gone?.count, -1);
    assert.equal(gone.kind, "route");
  });

  test("leaves out what is allowed", async () => {
    const before = await takeSnapshot(options);
    const opened = openSync("/dev/zero", "r");
    const later = await takeSnapshot(options);
    closeSync(opened);
    assert.deepEqual(diffSnapshots(before, later, { fd: [/zero/] }), []);
    assert.deepEqual(diffSnapshots(before, later, { fd: true }), []);
    assert.equal(diffSnapshots(before, later, { fd: [/null/], mount: true }).length, 1);
  });
});

describe("withLeakCheck()", () => {
  const quiet = { diagnostic: () => undefined };

  test("gives the result of a clean function", async () => {
    assert.equal(await withLeakCheck(quiet, options, async () => 7), 7);
  });

  test("fails by name on what was left", async () => {
    let opened = -1;
    const leaky = async (): Promise<void> => {
      opened = openSync("/dev/zero", "r");
    };
    await assert.rejects(withLeakCheck(quiet, options, leaky), /\+ fd \/dev\/zero$/);
    closeSync(opened);
  });

  test("throws the function's own error and only notes what it left", async () => {
    const said: string[] = [];
    let opened = -1;
    const failing = async (): Promise<void> => {
      opened = openSync("/dev/zero", "r");
      throw new Error("its own");
    };
    const t = { diagnostic: (message: string) => void said.push(message) };
    await assert.rejects(withLeakCheck(t, options, failing), /^Error: its own$/);
    closeSync(opened);
    assert.match(said.join(), /\+ fd \/dev\/zero/);
  });
});

/** Kills a child and waits until it is reaped. */
function kill(target: ChildProcess | undefined): Promise<void> {
  return new Promise((resolve) => {
    target?.once("exit", () => resolve());
    target?.kill("SIGKILL");
  });
}

function sql(statements: string): void {
  const connection = new DatabaseSync(database);
  connection.exec(statements);
  connection.close();
}
