/** Control characters in requests: a NUL cuts text where the kernel and the plugins read it. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type ContainerInit,
  container,
  createIn,
  exec,
  inPod,
  Node,
  runIn,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  leakless,
  listIds,
  pod,
  runPod,
  withPod,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The directory of attachments is made with the first pod.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => node[Symbol.asyncDispose]());

const metadata = { name: "pod", namespace: "ns", uid: "uid", attempt: 0 };

describe("RunPodSandbox", () => {
  for (const field of ["name", "namespace", "uid"] as const) {
    for (const [what, character] of Object.entries({
      "a NUL": "\0",
      "a newline": "\n",
      "an escape": "\u001b",
    })) {
      test(
        `refuses ${what} in metadata.${field} before anything is created`,
        leakless(served, async () => {
          const bad = { ...metadata, [field]: `a${character}b` };
          await assert.rejects(
            runPod(daemon, pod({}, { metadata: bad })),
            failsWith(code.invalidArgument, new RegExp(`config\\.metadata\\.${field} `)),
          );
          assert.deepEqual(await listIds(daemon), []);
          assert.deepEqual(readdirSync(path.join(daemon.paths.root, "attachments")), []);
        }),
      );
    }
  }
});

describe("CreateContainer", () => {
  const bad: Readonly<Record<string, readonly [ContainerInit, RegExp]>> = {
    "a NUL in an argument": [{ args: ["a\0b"] }, /config\.args\[0\] /],
    "a NUL in an annotation": [{ annotations: { a: "\0" } }, /config\.annotations\["a"\] /],
    "a NUL in a variable": [{ envs: [{ key: "A", value: Buffer.from("a\0b") }] }, /"A"/],
    "a newline in the log path": [{ logPath: "a\n.log" }, /config\.log_path /],
    "a newline in a mount's path": [
      { mounts: [{ hostPath: "/tmp", containerPath: "/a\nb" }] },
      /config\.mounts\[0\]\.container_path /,
    ],
  };
  for (const [what, [config, message]] of Object.entries(bad)) {
    test(
      `refuses ${what}`,
      leakless(served, () =>
        inPod(daemon, bare(), async (within) => {
          await assert.rejects(
            createIn(within, container(config)),
            failsWith(code.invalidArgument, message),
          );
        }),
      ),
    );
  }
});

test(
  "a command and its arguments can have any character except NUL",
  leakless(served, () =>
    inPod(daemon, bare(), async (within) => {
      const id = await runIn(within);
      const { stdout } = await exec(daemon, id, ["printf", "%s", "a\n\t\u001b\u0085b"]);
      assert.equal(stdout, "a\n\t\u001b\u0085b");
      await assert.rejects(
        exec(daemon, id, ["printf", "a\0b"]),
        failsWith(code.invalidArgument, /cmd\[1\] /),
      );
    }),
  ),
);
