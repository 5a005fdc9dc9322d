/** Exec: its streams, its end, and that it leaves nothing. */
// variants: shim, runc
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { openRemoteCommand } from "../../src/client/streaming/index.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readProcesses } from "../support/snapshot/processes.ts";
import {
  closePod,
  countDescriptors,
  createIn,
  inPod,
  Node,
  openPod,
  runIn,
  script,
  sh,
  stop,
  type Pod,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";
import { openExec, transports } from "../support/suites/streams.ts";

let node: Node;
let daemon: TestDaemon;
let pod: Pod;
let id = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  pod = await openPod(daemon, bare());
  id = await runIn(pod, script("while :; do sleep 100000; done"));
  // The container's own processes must run before a test counts processes.
  await until("the container's own sleep runs", () => running("sleep 100000 ") > 0);
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

/** The processes with these words in their command line. */
const running = (words: string): number =>
  readProcesses().filter(({ pid }) => commandLine(pid).includes(words)).length;

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // It has ended.
  }
}

const shell = (text: string): readonly string[] => ["/bin/sh", "-c", text];

test(
  "Exec gives a command its own variables, over those of the container",
  leakless(served, () =>
    inPod(daemon, bare(), async (at) => {
      const envs = [{ key: "LEVEL", value: Buffer.from("info") }];
      const other = await runIn(at, { ...script("exec sleep 100000"), envs });
      const env = { LEVEL: "debug", LITERAL: "$LEVEL ${LEVEL}", KUBERNETES_EXEC_AUDIT_ID: "a-1" };
      const text = 'echo "$LEVEL|$LITERAL|$KUBERNETES_EXEC_AUDIT_ID"';
      const client = await openExec(daemon, other, shell(text), { env, stdin: false });
      assert.equal(await client.exitCode(), 0);
      assert.equal(client.stdout, "debug|$LEVEL ${LEVEL}|a-1\n");
      // They are of that command alone.
      assert.equal(await sh(daemon, other, text), "info||");
      await assert.rejects(
        openExec(daemon, other, ["true"], { env: { "A=B": "" } }),
        failsWith(code.invalidArgument, /envs: a key cannot hold/),
      );
    }),
  ),
);

for (const transport of transports) {
  describe(`Exec over ${transport}`, () => {
    test(
      "carries three streams and the exit code",
      leakless(served, async () => {
        const client = await openExec(daemon, id, shell("cat; echo err >&2; exit 7"), {
          transport,
        });
        client.remote.stdin?.end("typed\n");
        assert.equal(await client.exitCode(), 7);
        assert.deepEqual([client.stdout, client.stderr], ["typed\n", "err\n"]);
        const silent = await openExec(daemon, id, ["true"], { transport, stdin: false });
        assert.equal(await silent.exitCode(), 0);
      }),
    );

    test(
      "gives a terminal with the client's size, and follows it",
      leakless(served, async () => {
        const text =
          'while :; do s=$(stty size); [ "$s" = "$o" ] || echo "<$s>"; o=$s; sleep 0.02; done';
        const client = await openExec(daemon, id, shell(text), { transport, terminal: true });
        client.remote.resize({ width: 101, height: 31 });
        await client.says("<31 101>");
        client.remote.resize({ width: 132, height: 43 });
        await client.says("<43 132>");
        client.type("\u0003");
        assert.equal(await client.exitCode(), 130);
      }),
    );

    test(
      "echoes what is typed into a terminal, and returns the exit code",
      leakless(served, async () => {
        const client = await openExec(daemon, id, ["/bin/sh"], { transport, terminal: true });
        client.type("echo a$((1+1))b; exit 5\n");
        assert.equal(await client.exitCode(), 5);
        assert.match(client.stdout, /a2b\r\n/);
      }),
    );

    test(
      "says why a command cannot be run",
      leakless(served, async () => {
        for (const terminal of [false, true]) {
          const client = await openExec(daemon, id, ["/no/such"], { transport, terminal });
          assert.match(await client.failure(), /\/no\/such/);
        }
      }),
    );

    test(
      "passes 200 MB completely, and the daemon's memory stays flat",
      leakless(served, async () => {
        const rss = (): number =>
          Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${daemon.pid}/status`, "utf8"))?.[1]);
        const before = rss();
        const text = "dd if=/dev/zero bs=1048576 count=200 2>/dev/null";
        const client = await openExec(daemon, id, shell(text), { transport, keeps: false });
        let most = 0;
        client.remote.stdout?.on("data", () => {
          most = Math.max(most, client.bytes % 64 === 0 ? rss() - before : 0);
        });
        assert.equal(await client.exitCode(), 0);
        assert.equal(client.bytes, 200 * 1048576);
        assert.ok(most < 64 * 1024, `${most} KiB more`);
      }),
    );

    test(
      "ends the command when the client goes away",
      leakless(served, async () => {
        for (const [terminal, seconds] of [
          [false, "7001"],
          [true, "7002"],
        ] as const) {
          const text = `trap '' HUP; sleep ${seconds} & sleep ${seconds}; sleep ${seconds}`;
          const client = await openExec(daemon, id, shell(text), { transport, terminal });
          await until("it runs", () => running(`sleep ${seconds}`) > 0);
          client.remote.close();
          await until("it is gone", () => running(`sleep ${seconds}`) === 0);
        }
      }),
    );

    test(
      "ends when its container does",
      leakless(served, () =>
        inPod(daemon, bare(), async (own) => {
          const other = await runIn(own);
          const client = await openExec(daemon, other, shell("echo on; sleep 1000"), { transport });
          await client.says("on");
          await stop(daemon, other);
          assert.equal(await client.exitCode(), 137);
        }),
      ),
    );
  });
}

test(
  "Exec refuses an invalid request before it returns an address",
  leakless(served, async () => {
    const exec = (changes: object): Promise<unknown> =>
      daemon.client.runtime.exec({ containerId: id, cmd: ["true"], stdout: true, ...changes });
    const invalid = failsWith(code.invalidArgument);
    await assert.rejects(exec({ tty: true, stderr: true }), invalid);
    await assert.rejects(exec({ stdout: false }), invalid);
    await assert.rejects(exec({ cmd: [] }), invalid);
    await assert.rejects(exec({ containerId: "" }), invalid);
    await assert.rejects(exec({ containerId: "0".repeat(64) }), failsWith(code.notFound));
    await inPod(daemon, bare(), async (own) => {
      const containerId = await createIn(own);
      await assert.rejects(exec({ containerId }), failsWith(code.failedPrecondition, /created/));
    });
  }),
);

test(
  "the error says that a container stopped before its client connected",
  leakless(served, () =>
    inPod(daemon, bare(), async (own) => {
      const other = await runIn(own);
      const request = { containerId: other, cmd: ["true"], stdout: true };
      const { url } = await daemon.client.runtime.exec(request);
      await stop(daemon, other);
      const choice = { stdin: false, stdout: true, stderr: false, terminal: false };
      const remote = await openRemoteCommand(url, choice);
      remote.stdout?.resume();
      const end = await remote.end;
      assert.match("failure" in end ? end.failure : "", /exited, not running/);
    }),
  ),
);

test(
  "a hundred in a row, and twenty at once, leave no descriptor and no process",
  leakless(served, async () => {
    const open = (): number => countDescriptors(daemon);
    const run = async (n: number): Promise<void> => {
      const transport = n % 2 === 0 ? "spdy" : "websocket";
      const terminal = n % 3 === 0;
      const client = await openExec(daemon, id, ["echo", String(n)], { transport, terminal });
      assert.equal(await client.exitCode(), 0);
      assert.equal(client.stdout.trim(), String(n));
    };
    await run(0);
    const before = open();
    for (let n = 0; n < 100; n++) await run(n);
    await Promise.all(Array.from({ length: 20 }, (_, n) => run(n)));
    await until("its descriptors are as many as before", () => open() <= before);
    assert.equal(await sh(daemon, id, "echo still"), "still");
  }),
);
