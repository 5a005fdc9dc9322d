/** davit why and davit inflight against a real daemon: past operations and those in progress. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { bridgeConflist, ScriptedPlugin, writeConflist } from "../support/cni.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  container,
  createIn,
  Node,
  openPod,
  closePod,
  type Pod,
  runIn,
  script,
  stop,
} from "../support/suites/containers.ts";
import {
  launchDaemon,
  pod as podConfig,
  removePod,
  runPod,
  runtimeFact,
  stopPod,
  until,
} from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-why-"));
/** Runs after bridge and portmap, and does as the tests say. */
const plugin = new ScriptedPlugin(directory);
let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox({ pluginDirs: [plugin.binDir] });
  davit = new Davit(node.daemon);
  const { confDir, ipamDir } = node.daemon.paths;
  const conflist = bridgeConflist({ ipamDir, more: [{ type: plugin.type }] });
  writeConflist(confDir, "10-test.conflist", conflist);
  await until("the plugin is configured", async () =>
    JSON.stringify(await runtimeFact(node.daemon, "cniconfig")).includes(plugin.type),
  );
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

describe("davit why", () => {
  let pod: Pod;
  before(async () => {
    pod = await openPod(node.daemon, podConfig());
  });
  after(() => closePod(pod));

  test("draws the phases of a pod and its containers, plugin by plugin", async () => {
    const id = await runIn(pod, script("while :; do sleep 1000; done"));
    const text = await davit.done("why", pod.id);
    assert.match(text, /^pod \S+\/\S+ {2}ready, created \d+ s ago, address 10\./);
    assert.match(text, /\n {2}run pod sandbox {2}.* ago\n/);
    for (const phase of ["pin namespaces", "network plugin bridge", "network plugin portmap"]) {
      assert.match(text, new RegExp(`\\n {4}${phase} +(<1|\\d+) ms +[|#]+\\n`));
    }
    assert.match(text, /\ncontainer \S+ {2}running, started \d+ s ago, pid \d+\n/);
    for (const phase of ["mount root", "build spec", "start monitor", "create process"]) {
      assert.match(text, new RegExp(`\\n {4}${phase} +(<1|\\d+) ms +[|#]+\\n`));
    }
    await stop(node.daemon, id, 0);
    const ended = await davit.done("why", id.slice(0, 12));
    assert.match(ended, /exited, Error with code 137, \d+ s ago\n/);
    assert.match(ended, /\n {2}stop container {2}/);
  });

  test("tells what the kernel killed in a container that runs on", async () => {
    const limit = 16n << 20n;
    const resources = { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit };
    const command = "dd if=/dev/zero of=/dev/null bs=64M count=1; while :; do sleep 1000; done";
    const own = await openPod(node.daemon, podConfig());
    const id = await runIn(own, script(command, { linux: { resources } }));
    const line = await until("the kill is in the log", () =>
      node.daemon.lines.find(({ fields }) => fields["kills"] !== undefined),
    );
    const { level, msg, message, container: of, sandbox, kills } = line.fields;
    assert.deepEqual([level, of, sandbox, kills], ["warn", id, own.id, 1]);
    assert.equal(msg ?? message, "the OOM killer killed processes of a container");
    const text = await davit.done("why", id);
    assert.match(text, /running, started .*, 1 process killed: out of memory, last \d+ s ago\n/);
    await closePod(own);
  });

  test("says only once why a container did not start", async () => {
    const id = await createIn(pod, container({ command: ["/no-such-program"] }));
    await assert.rejects(node.daemon.client.runtime.startContainer({ containerId: id }));
    const text = await davit.done("why", id);
    assert.match(text, /exited, StartError with code 128, \d+ s ago\n/);
    assert.match(text, /\n {2}start container {2}.*, failed\n/);
    assert.equal(text.split("no-such-program").length - 1, 1);
  });

  for (const how of ["stop", "kill -9"]) {
    test(`shows the same operations after a restart by ${how}`, async () => {
      const operations = async (): Promise<readonly string[]> =>
        (await davit.done("why", pod.id))
          .split("\n")
          // Without the ages.
          .map((line) => line.replace(/, [^,]* ago/g, ""));
      const before = await operations();
      assert.ok(before.some((line) => /^ {2}run pod sandbox {2}/.test(line)));
      const written = path.join(node.daemon.paths.root, "history", "operations.jsonl");
      await until("the operations are written", () =>
        readFileSync(written, "utf8").includes('"stop-container"'),
      );
      if (how === "stop") await node.daemon.stop();
      else await node.daemon.kill9();
      await launchDaemon(node.daemon);
      await until("the history is read", async () => (await operations()).length >= before.length);
      assert.deepEqual(await operations(), before);
    });
  }

  test("does without a history that is damaged", async () => {
    await node.daemon.stop();
    const file = path.join(node.daemon.paths.root, "history", "operations.jsonl");
    writeFileSync(file, "\0\0\0{}\n[1]\n".repeat(100));
    await launchDaemon(node.daemon);
    const text = await davit.done("why", pod.id);
    assert.match(text, /^pod .* ready, /);
    assert.match(text, /no operations are known/);
  });
});

test("davit why and davit inflight name a pod that is being created, and the plugin that hangs", async () => {
  const config = podConfig();
  const { name = "", namespace = "" } = config.metadata ?? {};
  const release = plugin.block("ADD");
  const creating = runPod(node.daemon, config);
  try {
    await plugin.waitForCalls("ADD");
    const text = await davit.done("why", `${namespace}/${name}`);
    assert.match(text, /^".*" does not exist yet; operations in progress with this name:\n\n/);
    assert.match(text, /\nrun pod sandbox {2}\S+ \w+ so far\n/);
    assert.match(text, /\n {2}network plugin portmap +\S+ ms/);
    assert.match(text, /\n {2}network plugin scripted +\S+ \w+ +[|#]+\n$/);
    assert.match(await davit.done("inflight"), /run-pod-sandbox +\S+ +add-network \(scripted\) /);
  } finally {
    release();
  }
  const id = await creating;
  const resume = plugin.block("DEL");
  const stopping = stopPod(node.daemon, id);
  try {
    await plugin.waitForCalls("DEL");
    const text = await davit.done("why", name);
    assert.match(text, /^pod \S+ {2}not ready: it is being stopped/);
    assert.match(text, /\n {2}stop pod sandbox {2}.* so far\n[^]* {4}network plugin scripted /);
    assert.match(
      await davit.done("inflight"),
      /stop-pod-sandbox +\S+ +remove-network \(scripted\) /,
    );
  } finally {
    resume();
  }
  await stopping;
  await removePod(node.daemon, id);
});

test("davit why explains a pod that was never created, and davit inflight shows what hangs", async () => {
  await node.daemon.stop();
  const faults = "run-pod-sandbox/pin-namespaces=throw,run-pod-sandbox/make-files=hang";
  await launchDaemon(node.daemon, { DAVIT_FAULTS: faults });
  const failing = podConfig();
  await assert.rejects(runPod(node.daemon, failing));
  const { name = "" } = failing.metadata ?? {};
  const text = await davit.done("why", name);
  assert.match(
    text,
    /^".*" does not exist; failed operations with this name:\n\nrun pod sandbox {2}.*, failed\n/,
  );
  assert.match(text, /stage pin-namespaces.* a fault was injected/);
  assert.equal((await davit.run("why", "nobody-of-this-name")).code, 3);

  assert.match(await davit.done("inflight"), /^no operations in progress\n$/);
  const hanging = runPod(node.daemon, podConfig());
  hanging.catch(() => undefined);
  let seen = "";
  await until("the create hangs", async () => {
    seen = await davit.done("inflight");
    return / make-files /.test(seen);
  });
  assert.match(
    seen,
    /^OPERATION +SUBJECT +STAGE +IN STAGE +IN ALL\nrun-pod-sandbox +\S+ +make-files /,
  );
  assert.match(seen, /\nCALL +WAITS +GIVES UP IN\nRunPodSandbox /);
  const json = JSON.parse(await davit.done("inflight", "-o", "json")) as {
    readonly operations: readonly { readonly stage: string }[];
  };
  assert.equal(json.operations[0]?.stage, "make-files");
  await node.daemon.stop();
  await assert.rejects(hanging);
  await launchDaemon(node.daemon);
  const { items } = await node.daemon.client.runtime.listPodSandbox({});
  for (const { id } of items) await removePod(node.daemon, id);
});
