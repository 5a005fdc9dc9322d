/** A daemon that serves, and still waits for the features of its OCI runtime. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestDaemon } from "../support/daemon.ts";
import { container, createIn, exec, inPod, Node, start } from "../support/suites/containers.ts";
import {
  launchDaemon,
  leaklessAcross,
  mapped,
  openDirectories,
  pod,
  withPod,
} from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-features-"));
const gate = path.join(directory, "gate");

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  const runtime = path.join(directory, "gated-crun");
  const script = `#!/bin/sh
if [ "$1" = features ]; then
  while [ ! -e ${gate} ]; do sleep 0.01; done
fi
exec crun "$@"
`;
  writeFileSync(runtime, script, { mode: 0o755 });
  writeFileSync(gate, "");
  node = await Node.startWithBusybox({
    config: { runtime: { handlers: { crun: { path: runtime } } } },
  });
  daemon = node.daemon;
  // The first pod creates the bridge.
  await withPod(daemon, pod(), async () => undefined);
  openDirectories(daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Starts a request while the runtime is silent, and then lets the runtime answer. */
async function whileSilent<T>(ask: () => Promise<T>): Promise<T> {
  await daemon.kill9();
  rmSync(gate);
  await launchDaemon(daemon);
  const asked = ask();
  // A Status that does not wait would be answered before this timeout.
  const early = await Promise.race([asked.then(() => true), sleep(300, false)]);
  writeFileSync(gate, "");
  const answer = await asked;
  assert.equal(early, false);
  return answer;
}

test("Status waits for the features of the runtime", async () => {
  const status = await whileSilent(() => daemon.client.runtime.status({}));
  const [handler] = status.runtimeHandlers;
  assert.deepEqual(
    [handler?.features?.recursiveReadOnlyMounts, handler?.features?.userNamespaces],
    [true, true],
  );
  assert.equal(status.features?.userNamespacesHostNetwork, true);
});

test(
  "a pod in a user namespace is created as soon as the runtime is known to map ids",
  leaklessAcross(served, () => whileSilent(() => withPod(daemon, mapped(), async () => undefined))),
);

test(
  "a recursive read-only mount is created as soon as the runtime is known to support it",
  leaklessAcross(served, () =>
    inPod(daemon, pod(), async (made) => {
      const mount = {
        hostPath: directory,
        containerPath: "/host",
        readonly: true,
        recursiveReadOnly: true,
      };
      const id = await createIn(made, container({ mounts: [mount] }));
      await whileSilent(() => start(daemon, id));
      const written = await exec(daemon, id, ["touch", "/host/x"]);
      assert.match(written.stderr, /Read-only file system/);
    }),
  ),
);
