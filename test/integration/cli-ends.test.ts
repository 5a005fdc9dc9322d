/** The end of davit run: by Ctrl-C, by the failure of another pod, by a container that fails immediately. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { ScriptedPlugin } from "../support/cni.ts";
import { Davit, podOf, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";
import { runtimeFact, until } from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-interrupt-"));
const plugin = new ScriptedPlugin(directory);
let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox({
    pluginDirs: [plugin.binDir],
    conflist: { cniVersion: "1.0.0", name: "odd", plugins: [{ type: plugin.type }] },
    config: { runtime: { retry_hold_seconds: 1 } },
  });
  davit = new Davit(node.daemon);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** What a process has written to stderr so far. */
function errOf(child: ChildProcess): () => string {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => (text += String(chunk)));
  return () => text;
}

/** All sandboxes, also those that are not listed: they are being created, or held for a retry. */
async function recordedSandboxes(): Promise<number> {
  const { sandboxes } = (await runtimeFact(node.daemon, "records")) as { sandboxes: number };
  return sandboxes;
}

test("Ctrl-C while a plugin hangs reports what the server does, waits and removes the pod", async () => {
  const release = plugin.block("ADD");
  const calls = plugin.calls("ADD").length;
  try {
    const { child, ended } = davit.start(["run", davit.manifest(podOf("slow", sleeper))]);
    const said = errOf(child);
    await plugin.waitForCalls("ADD", calls + 1);
    child.kill("SIGINT");
    await until("it says what is not finished", () =>
      /default\/slow: waiting for the server to create the pod \(network plugin scripted, /.test(
        said(),
      ),
    );
    assert.equal(child.exitCode, null, "it waits");
    assert.equal(plugin.calls("ADD").length, calls + 1, "and has joined the first request");
    release();
    const { code, err } = await ended;
    assert.equal(code, 130, err);
    assert.match(err, /interrupted; everything that was created is removed\n$/);
  } finally {
    release();
  }
  assert.equal(await recordedSandboxes(), 0);
  assert.deepEqual(readdirSync(davit.podsDirectory), []);
});

test("a second Ctrl-C exits immediately and says how to clean up", async () => {
  const file = davit.manifest(podOf("left", sleeper));
  const release = plugin.block("ADD");
  const calls = plugin.calls("ADD").length;
  try {
    const { child, ended } = davit.start(["run", file]);
    const said = errOf(child);
    await plugin.waitForCalls("ADD", calls + 1);
    child.kill("SIGINT");
    await until("it waits", () => /waiting for the server to create the pod/.test(said()));
    // Two signals within half a second count as one key press.
    await until("it has left", () => child.exitCode !== null || (child.kill("SIGINT"), false));
    const { code, err } = await ended;
    assert.equal(code, 130, err);
    assert.match(err, /interrupted again; default\/left may exist, or may still be created: /);
    assert.match(err, new RegExp(`"davit down ${file}" removes what is left\n$`));
    assert.doesNotMatch(err, /everything that was created is removed/);
  } finally {
    release();
  }
  await until("the server has removed it", async () => (await recordedSandboxes()) === 0);
  await davit.done("down", file);
  assert.deepEqual(readdirSync(davit.podsDirectory), []);
});

test("a pod that is being created is removed when another pod of the command fails", async () => {
  const release = plugin.block("ADD");
  const calls = plugin.calls("ADD").length;
  const broken = podOf("broken", "true", { spec: "  hostNetwork: true" }).replace(
    "/bin/sh",
    "/bin/none",
  );
  try {
    const yaml = `${podOf("slow", sleeper)}\n---${broken}`;
    const { child, ended } = davit.start(["run", davit.manifest(yaml)]);
    const said = errOf(child);
    await plugin.waitForCalls("ADD", calls + 1);
    await until("the other one has failed", () =>
      /waiting for the server to create the pod/.test(said()),
    );
    release();
    const { code, err } = await ended;
    assert.equal(code, 1, err);
    assert.match(err, /start container "default\/broken\/main"/);
  } finally {
    release();
  }
  assert.equal(await recordedSandboxes(), 0);
  assert.deepEqual(readdirSync(davit.podsDirectory), []);
});

test("davit run reports a container that fails immediately, and keeps its pod", async () => {
  const file = davit.manifest(podOf("crash", "echo so bad; exit 3"));
  const { code, out, err } = await davit.run("run", file);
  assert.equal(code, 1, err);
  assert.match(err, /^\u2717 default\/crash {2}.*\n/m);
  assert.match(
    err,
    /container "default\/crash\/main" exited with code 3 \(Error\); the end of its log:\n {2}so bad\n/,
  );
  assert.match(out, /^POD ID .*\n\w{12} +default +crash /);
  assert.match(await davit.done("pods"), / crash +ready +0\/1 /);
  const quiet = await davit.run("run", "--replace", "-q", file);
  assert.deepEqual([quiet.code, quiet.out.length], [1, 65]);
  assert.match(quiet.err, /^davit: container .* exited with code 3/);
  const fine = await davit.run("run", davit.manifest(podOf("fine", "exit 0")));
  assert.deepEqual([fine.code, /\u2713 default\/fine/.test(fine.err)], [0, true], fine.err);
  await davit.done("down", "crash", "fine");
  assert.deepEqual(readdirSync(davit.podsDirectory), []);
});
