/** Attach: several clients, disconnects, stdin_once, terminals. */
// variants: shim, conmon
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  containerStatus,
  exited,
  createIn,
  inPod,
  Node,
  RUNNING,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";
import { openAttach, transports } from "../support/suites/streams.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
});

/** Says each line that it reads, on both streams, and the end. */
const parrot = "echo first; while read line; do echo $line; echo e$line >&2; done; echo over";

for (const transport of transports) {
  describe(`Attach over ${transport}`, () => {
    test(
      "connects several clients, which disconnect without ending anything",
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const id = await runIn(pod, script(parrot, { stdin: true }));
          const one = await openAttach(daemon, id, { transport });
          const two = await openAttach(daemon, id, { transport, stdin: false });
          await until("both clients are attached", () => {
            one.type("hello\n");
            return one.stdout.includes("hello") && two.stdout.includes("hello");
          });
          one.type("a\n");
          await Promise.all([one.says("a\n"), two.says("a\n")]);
          one.remote.close();
          const three = await openAttach(daemon, id, { transport });
          three.remote.stdin?.end("b\n");
          await two.says("b\n");
          const said = two.stdout.replaceAll(/first\n|hello\n/g, "");
          assert.equal(said, "a\nb\n", "nothing is lost or repeated");
          two.remote.close();
          three.remote.close();
          assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        }),
      ),
    );

    test(
      "closes a stdin with stdin_once when its client closes it",
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const config = { stdin: true, stdinOnce: true };
          const id = await runIn(pod, script(parrot, config));
          const listener = await openAttach(daemon, id, { transport, stdin: false });
          listener.remote.close();
          const client = await openAttach(daemon, id, { transport });
          client.remote.stdin?.end("x\ny\n");
          assert.equal(await client.exitCode(), 0);
          assert.match(client.stdout, /x\ny\nover\n$/);
          assert.match(client.stderr, /ex\ney\n$/);
          assert.equal((await exited(daemon, id)).exitCode, 0);
        }),
      ),
    );

    test(
      "resizes a container's terminal",
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const text =
            'while :; do s=$(stty size); [ "$s" = "$o" ] || echo "<$s>"; o=$s; sleep 0.02; done';
          const id = await runIn(pod, script(text, { stdin: true, tty: true }));
          const client = await openAttach(daemon, id, { transport, terminal: true });
          client.remote.resize({ width: 101, height: 31 });
          await client.says("<31 101>");
          client.remote.resize({ width: 90, height: 30 });
          await client.says("<30 90>");
          client.type("\u0003");
          assert.equal((await exited(daemon, id)).exitCode, 130);
          await client.remote.end;
        }),
      ),
    );
  });
}

test(
  "Attach refuses an invalid request before it returns an address",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const id = await runIn(pod);
      const attach = (changes: object): Promise<unknown> =>
        daemon.client.runtime.attach({ containerId: id, stdout: true, ...changes });
      await assert.rejects(attach({ tty: true, stderr: true }), failsWith(code.invalidArgument));
      await assert.rejects(attach({ stdout: false }), failsWith(code.invalidArgument));
      await assert.rejects(attach({ containerId: "1".repeat(64) }), failsWith(code.notFound));
      const containerId = await createIn(pod);
      await assert.rejects(attach({ containerId }), failsWith(code.failedPrecondition));
    }),
  ),
);
