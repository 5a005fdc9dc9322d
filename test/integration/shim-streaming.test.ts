/** A shim that serves the streams of its containers (`io_type = "streaming"`), instead of opening fifos. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { exec, exited, logLines, type Pod, runIn, script } from "../support/suites/containers.ts";
import { bare, launchDaemon, leakless, leaklessAcross, until } from "../support/suites/pods.ts";
import { daemon, inSandbox, served, serveSandboxer } from "../support/suites/sandboxer.ts";
import { openAttach, openExec } from "../support/suites/streams.ts";

serveSandboxer({ io_type: "streaming" });

/** A pod of the sandboxer with a directory for logs, and the path of the container's log. */
function withLog(use: (pod: Pod, log: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const logDirectory = path.join(daemon.paths.directory, "logs");
    try {
      await inSandbox(bare({ logDirectory }), (pod) => use(pod, path.join(logDirectory, "0.log")));
    } finally {
      rmSync(logDirectory, { recursive: true, force: true });
    }
  };
}

const textsOf = (file: string): readonly string[] =>
  existsSync(file) ? logLines(file).map(({ text }) => text) : [];

test("output of both streams is in the log, and no fifo is made", (t) =>
  leakless(
    served,
    withLog(async (pod, log) => {
      // More than the windows of several messages.
      const text =
        "for i in $(seq 3000); do echo line $i of a long output; done; echo end >&2; exit 3";
      const id = await runIn(pod, script(text, { logPath: "0.log" }));
      assert.equal((await exited(daemon, id)).exitCode, 3);
      const lines = textsOf(log);
      assert.equal(lines.length, 3001);
      assert.ok(lines.includes("line 3000 of a long output") && lines.includes("end"));
      const bundle = path.join(daemon.paths.state, "shims/tasks", id);
      const fifos = readdirSync(bundle).filter((name) => name.startsWith("std"));
      assert.deepEqual(fifos, []);
    }),
  )(t));

test("commands have their streams, and leave nothing in the bundle", (t) =>
  leakless(served, () =>
    inSandbox(bare(), async (pod) => {
      const id = await runIn(pod);
      const said = await exec(daemon, id, ["/bin/sh", "-c", "echo out; echo err >&2; exit 4"]);
      assert.deepEqual([said.exitCode, said.stdout, said.stderr], [4, "out\n", "err\n"]);
      const client = await openExec(daemon, id, ["/bin/sh", "-c", "cat; exit 7"], {});
      client.remote.stdin?.end(`${"typed ".repeat(20_000)}\n`);
      assert.equal(await client.exitCode(), 7);
      assert.equal(client.stdout.length, 120_001);
      const bundle = path.join(daemon.paths.state, "shims/tasks", id);
      await until("the files of commands are gone", () =>
        readdirSync(bundle).every((name) => !name.startsWith("exec-")),
      );
    }),
  )(t));

test("a client that attaches types into the container", (t) =>
  leakless(served, () =>
    inSandbox(bare(), async (pod) => {
      const config = script("read line; echo got $line; sleep 100000", { stdin: true });
      const id = await runIn(pod, config);
      const client = await openAttach(daemon, id, {});
      client.type("hello\n");
      await client.says("got hello");
      client.remote.close();
    }),
  )(t));

test("output continues under the next daemon", (t) =>
  leaklessAcross(
    served,
    withLog(async (pod, log) => {
      const text = "echo before; while [ ! -e /go ]; do sleep 0.05; done; echo after; exit 5";
      const id = await runIn(pod, script(text, { logPath: "0.log" }));
      await until("the first line is in the log", () => textsOf(log).includes("before"));
      await daemon.kill9();
      await launchDaemon(daemon);
      await exec(daemon, id, ["touch", "/go"]);
      assert.equal((await exited(daemon, id)).exitCode, 5);
      assert.deepEqual(textsOf(log), ["before", "after"]);
    }),
  )(t));
