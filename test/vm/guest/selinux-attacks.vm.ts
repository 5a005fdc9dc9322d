/** Attacks on labels where SELinux enforces Debian's policy: volumes over procfs, and links that appear in a relabelled tree. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  container,
  createIn,
  exec,
  inPod,
  Node,
  pidOf,
  pull,
  runIn,
  script,
  sh,
} from "../../support/suites/containers.ts";
import { code, failsWith, openDirectories, pod, until } from "../../support/suites/pods.ts";
import type { TestDaemon } from "../../support/daemon.ts";
import { busyboxLayer, imageOf } from "../../support/images.ts";

let node: Node;
let daemon: TestDaemon;
const directory = mkdtempSync(path.join(tmpdir(), "davit-selinux-attacks-"));
const overProc = "registry.k8s.io/e2e/over-proc:1";

before(async () => {
  node = await Node.startWithBusybox({
    config: { runtime: { selinux: true } },
    readyTimeoutMs: 120_000,
  });
  daemon = node.daemon;
  openDirectories(daemon);
  const planted = [
    { path: "proc/self/attr/", mode: 0o777 },
    { path: "proc/self/attr/exec", mode: 0o666, body: "planted" },
    { path: "proc/self/attr/current", mode: 0o666, body: "planted" },
  ];
  const Volumes = { "/proc": {}, "/proc/self": {}, "/proc/self/attr": {} };
  const image = imageOf([busyboxLayer("gzip", planted)], { Env: ["PATH=/bin"], Volumes });
  await node.registry.push("e2e/over-proc", image, ["1"]);
  await pull(daemon, overProc);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** The label of a process, from the node's procfs. */
function labelOf(pid: number): string {
  return readFileSync(`/proc/${pid}/attr/current`, "utf8").replace(/\0$/, "");
}

function fileLabel(file: string): string {
  return execFileSync("stat", ["--format=%C", file], { encoding: "utf8" }).trim();
}

const confined = /^system_u:system_r:container_t:s0:c\d+,c\d+$/;

test("a volume over procfs takes no label from a container or its commands (CVE-2019-16884)", () =>
  inPod(daemon, pod(), async (at) => {
    const id = await runIn(at, container({ image: { image: overProc } }));
    const label = labelOf(await pidOf(daemon, id));
    assert.match(label, confined);
    const said = await sh(daemon, id, "cat /proc/self/attr/current; head -n 1 /proc/mounts");
    assert.ok(said.startsWith(label), said);
    assert.ok(!said.includes("planted"), said);
  }));

test("a mount over procfs is refused, with a label for it or without", () =>
  inPod(daemon, pod(), async (at) => {
    for (const containerPath of ["/proc", "/proc/self/attr", "/proc/self"]) {
      const mounts = [{ hostPath: directory, containerPath, selinuxRelabel: true }];
      await assert.rejects(
        createIn(at, container({ mounts })),
        failsWith(code.invalidArgument, new RegExp(containerPath)),
      );
    }
  }));

test("a directory that becomes a link while its tree is labelled leads to nothing outside", () =>
  inPod(daemon, pod(), async (one) => {
    await inPod(daemon, pod(), async (other) => {
      const [volume, canary] = ["volume", "canary"].map((name) => {
        const made = path.join(directory, name);
        mkdirSync(made);
        return made;
      }) as [string, string];
      for (const name of ["a", "b", "c"]) {
        mkdirSync(path.join(volume, name));
        writeFileSync(path.join(volume, name, "file"), "");
        writeFileSync(path.join(canary, name), "the node's");
      }
      execFileSync("chcon", ["--recursive", "system_u:object_r:postgresql_db_t:s0", canary]);
      const before = fileLabel(canary);
      // Nothing confines what swaps, so that no label stops it.
      const swap = `cd /v && while :; do for n in a b c; do
        mv $n .$n && ln -s ${canary} $n && rm $n && mv .$n $n; done; echo >>/rounds; done`;
      const config = script(swap, {
        mounts: [{ hostPath: volume, containerPath: "/v" }],
        linux: { securityContext: { selinuxOptions: { type: "spc_t" } } },
      });
      const attacker = await runIn(one, config);
      const rounds = async (): Promise<number> =>
        Number((await exec(daemon, attacker, ["sh", "-c", "wc -l </rounds"])).stdout);
      await until("it swaps", async () => (await rounds()) > 0);
      const first = await rounds();
      for (let tries = 0; tries < 12; tries++) {
        const at = tries % 2 === 0 ? other : one;
        const mounts = [{ hostPath: volume, containerPath: "/data", selinuxRelabel: true }];
        // A name that is gone while the tree is read may fail the create, and nothing else.
        const id = await createIn(at, container({ mounts })).catch((error: unknown) => {
          failsWith(code.notFound)(error);
          return undefined;
        });
        if (id !== undefined) await daemon.client.runtime.removeContainer({ containerId: id });
        assert.equal(fileLabel(canary), before);
        for (const name of ["a", "b", "c"]) {
          assert.equal(fileLabel(path.join(canary, name)), before, name);
        }
      }
      assert.ok((await rounds()) > first, "it swapped meanwhile");
    });
  }));
