/**
 * F1: a container makes a setuid program of a file that the node keeps for its pod, and a user of the node
 * runs it, as root.
 */
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import { container, exec, inPod, Node, runIn, sh } from "../support/suites/containers.ts";
import { fileOf, leakless, mapped, openDirectories, pod, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { asNobody } from "./nobody.ts";

// A static program that runs its arguments as a command, with its own effective user.
const program = path.resolve(import.meta.dirname, "../../dist/davit-waiter");
const names = ["hosts", "hostname", "resolv.conf"];
const secret = "only root reads this";

let node: Node;
let daemon: TestDaemon;
let canary: string;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
  openDirectories(daemon);
  canary = path.join(daemon.paths.directory, "canary");
  writeFileSync(canary, secret, { mode: 0o600 });
});
after(() => node[Symbol.asyncDispose]());

/** What a user of the node reads of root's file by a program at this path. */
function readBy(file: string): string {
  const { stdout } = asNobody(["sh", "-c", 'exec "$0" /none /bin/cat "$1"', file, canary]);
  return stdout;
}

test("the program reads root's file where setuid is effective", () => {
  const file = path.join(daemon.paths.directory, "program");
  copyFileSync(program, file);
  chmodSync(file, 0o4755);
  assert.equal(readBy(file), secret);
  rmSync(file);
});

const pods: Readonly<Record<string, () => PodSandboxConfig>> = {
  "an ordinary pod": pod,
  "a pod in a user namespace": mapped,
};

for (const [what, config] of Object.entries(pods)) {
  describe(`a setuid program in a file of ${what}`, () => {
    const prepared = (look: (sandbox: string, id: string) => Promise<void> | void) =>
      leakless(served, () =>
        inPod(daemon, config(), async (at) => {
          const mounts = [{ hostPath: program, containerPath: "/program", readonly: true }];
          const id = await runIn(at, container({ mounts }));
          for (const name of names) {
            await sh(daemon, id, `cat /program > /etc/${name}; chmod 4755 /etc/${name}`);
          }
          await look(at.id, id);
        }),
      );

    test(
      "cannot be reached by a user of the node",
      prepared((sandbox) => {
        for (const name of names) {
          const file = fileOf(daemon, sandbox, name);
          assert.equal(readBy(file), "");
          assert.match(asNobody(["cat", file]).stderr, /Permission denied/);
        }
      }),
    );

    test(
      "cannot be run by a user that can reach it",
      prepared((sandbox) => {
        chmodSync(fileOf(daemon, sandbox, "."), 0o755);
        for (const name of names) {
          const file = fileOf(daemon, sandbox, name);
          assert.equal(asNobody(["test", "-r", file]).code, 0, "it is reached");
          assert.equal(readBy(file), "");
        }
      }),
    );

    test(
      "cannot be run in the container",
      prepared(async (_sandbox, id) => {
        for (const name of names) {
          const said = await exec(daemon, id, ["sh", "-c", `/etc/${name} /none /bin/true`]);
          assert.match(said.stderr, /Permission denied/, name);
        }
      }),
    );
  });
}
