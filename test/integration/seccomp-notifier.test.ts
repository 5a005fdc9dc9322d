/** The seccomp notifier: denied system calls of containers that ask for it by an annotation are reported. */
// variants: shim, runc
import assert from "node:assert/strict";
import process from "node:process";
import { after, before, test } from "node:test";
import { SecurityProfile_ProfileType } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  container,
  containerInfo,
  exec,
  exited,
  inPod,
  Node,
  runIn,
  script,
  sh,
} from "../support/suites/containers.ts";
import { bare, launchDaemon, leakless, leaklessAcross, until } from "../support/suites/pods.ts";

const annotation = "seccomp-notifier-action.crio.io";
const linux = {
  securityContext: { seccomp: { profileType: SecurityProfile_ProfileType.RuntimeDefault } },
};
// The default profile denies it by its default action, for lack of CAP_SYS_ADMIN.
const denied = ["unshare", "-U", "true"];

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const podOf = (action: string) => bare({ annotations: { [annotation]: action } });

before(async () => {
  const name = process.env["DAVIT_TEST_HANDLER"] ?? "crun";
  const handler = { pod_annotations: [annotation] };
  node = await Node.startWithBusybox({ config: { runtime: { handlers: { [name]: handler } } } });
  daemon = node.daemon;
  // The listener stays for as long as the daemon.
  await inPod(daemon, podOf("log"), async (pod) => {
    await runIn(pod, container({ linux }));
  });
});
after(() => node[Symbol.asyncDispose]());

async function deniedCalls(id: string): Promise<unknown> {
  return (await containerInfo(daemon, id))["deniedCalls"];
}

test(
  "reports the denied calls of a command and of execs, which fail as without it",
  leakless(served, async () => {
    await inPod(daemon, podOf("log"), async (pod) => {
      const text = "unshare -U true; unshare -U true; exec sleep 100000";
      const id = await runIn(pod, script(text, { linux }));
      await until("both are counted", async () => {
        return JSON.stringify(await deniedCalls(id)) === '{"unshare":2}';
      });
      const said = await exec(daemon, id, denied);
      assert.equal(said.exitCode, 1);
      assert.match(said.stderr, /Operation not permitted/);
      assert.deepEqual(await deniedCalls(id), { unshare: 3 });
      const lines = daemon.lines.filter((line) => JSON.stringify(line).includes("denied a system"));
      assert.equal(lines.length, 1);
      // A flood is answered, and the daemon answers others meanwhile.
      const flood =
        "i=0; while [ $i -lt 200 ]; do unshare -U true; i=$((i+1)); done 2>/dev/null; true";
      assert.equal(await sh(daemon, id, flood), "");
      assert.deepEqual(await deniedCalls(id), { unshare: 203 });
    });
  }),
);

test(
  "stops the container a moment after its first denied call, if the annotation says so",
  leakless(served, async () => {
    await inPod(daemon, podOf("stop"), async (pod) => {
      const id = await runIn(pod, script("unshare -U true; exec sleep 100000", { linux }));
      const { exitCode, reason, message } = await exited(daemon, id);
      assert.deepEqual(
        [exitCode, reason, message],
        [137, "seccomp killed", "Used forbidden syscalls: unshare (1x)"],
      );
    });
  }),
);

test(
  "leaves containers without a filter alone",
  leakless(served, async () => {
    await inPod(daemon, podOf("stop"), async (pod) => {
      const id = await runIn(pod, container());
      assert.equal((await exec(daemon, id, denied)).exitCode, 0);
      assert.equal(await deniedCalls(id), undefined);
    });
  }),
);

test(
  "is over for running containers when davit was restarted, except for new commands in them",
  leaklessAcross(served, async () => {
    await inPod(daemon, podOf("log"), async (pod) => {
      const text =
        "while [ ! -e /go ]; do sleep 0.1; done; unshare -U true 2>/said; exec sleep 100000";
      const id = await runIn(pod, script(text, { linux }));
      const from = daemon.lines.length;
      await daemon.kill9();
      await launchDaemon(daemon);
      await daemon.waitForLine(/seccomp notifier fail with ENOSYS/, from, 20_000);
      await sh(daemon, id, "touch /go");
      await until("it was denied", async () =>
        (await sh(daemon, id, "cat /said 2>/dev/null; true")).includes("Function not implemented"),
      );
      assert.equal(await deniedCalls(id), undefined);
      assert.match((await exec(daemon, id, denied)).stderr, /Operation not permitted/);
      assert.deepEqual(await deniedCalls(id), { unshare: 1 });
    });
  }),
);
