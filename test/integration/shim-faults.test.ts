/** Shims that are killed, hang, or send invalid answers: their pods end with a true status, others keep running. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import "../support/suites/by-shim.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { isThere, readProcesses } from "../support/snapshot/processes.ts";
import {
  closePod,
  container,
  containerStatus,
  createIn,
  exec,
  EXITED,
  exited,
  inPod,
  Node,
  openPod,
  pidOf,
  remove,
  RUNNING,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  code,
  failsWith,
  launchDaemon,
  leakless,
  leaklessAcross,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let scripted: string;
const served = (): TestDaemon => daemon;

/** A shim whose `start` runs the script next to it; it has nothing to delete. */
function writeScriptedShim(directory: string): string {
  mkdirSync(directory);
  const file = path.join(directory, "shim");
  const text = `#!/bin/sh\nfor last; do :; done\n[ "$last" = start ] && . ${directory}/start\nexit 0\n`;
  writeFileSync(file, text, { mode: 0o755 });
  return file;
}

before(async () => {
  scripted = path.join(mkdtempSync(path.join(tmpdir(), "davit-shim-")), "bin");
  const shim = writeScriptedShim(scripted);
  const handlers = {
    scripted: { runtime_type: shim },
    odd: { runtime_type: "io.containerd.runc.v2", options: { Binary: "x" } },
  };
  node = await Node.startWithBusybox({ config: { runtime: { handlers } } });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(path.dirname(scripted), { recursive: true });
});

/** The shim of a container: the parent of its process. */
function shimOf(pid: number): number {
  const entry = readProcesses().find((each) => each.pid === pid);
  const parent = readProcesses().find((each) => each.pid === entry?.ppid);
  assert.equal(parent?.comm, "containerd-shim");
  return parent.pid;
}

test(
  "a pod has one shim for all its containers, and another pod another one",
  leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      const ids = [await runIn(pod), await runIn(pod)];
      const shims = await Promise.all(ids.map(async (id) => shimOf(await pidOf(daemon, id))));
      assert.equal(shims[0], shims[1]);
      await inPod(daemon, bare(), async (other) => {
        const id = await runIn(other);
        assert.notEqual(shimOf(await pidOf(daemon, id)), shims[0]);
      });
      // The shim stays for the pod's next container, and ends with the last one.
      await remove(daemon, ids[0] ?? "");
      assert.ok(isThere(shims[0] ?? 0));
      await remove(daemon, ids[1] ?? "");
      await until("the shim has ended", () => !isThere(shims[0] ?? 0));
    }),
  ),
);

describe("a shim that is killed", () => {
  test(
    "ends its containers, and no others; the pod can run a new one",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const ids = [await runIn(pod), await runIn(pod)];
        const pids = await Promise.all(ids.map((id) => pidOf(daemon, id)));
        await inPod(daemon, bare(), async (other) => {
          const neighbour = await runIn(other);
          process.kill(shimOf(pids[0] ?? 0), "SIGKILL");
          for (const id of ids) {
            const { exitCode, reason } = await exited(daemon, id);
            assert.deepEqual([exitCode, reason], [137, "Error"]);
          }
          for (const pid of pids) assert.ok(!isThere(pid));
          assert.equal((await containerStatus(daemon, neighbour)).state, RUNNING);
          assert.equal((await exec(daemon, neighbour, ["true"])).exitCode, 0);
        });
        await exited(daemon, await runIn(pod, script("exit 0")));
      }),
    ),
  );

  test(
    "while there is no daemon: its containers are exited afterwards",
    leaklessAcross(served, async () => {
      const pod = await openPod(daemon, bare());
      const id = await runIn(pod);
      const pid = await pidOf(daemon, id);
      const shim = shimOf(pid);
      await daemon.kill9();
      process.kill(shim, "SIGKILL");
      await until("the shim is gone", () => !isThere(shim));
      await launchDaemon(daemon);
      assert.equal((await exited(daemon, id)).exitCode, 137);
      assert.ok(!isThere(pid));
      await closePod(pod);
    }),
  );
});

test(
  "a daemon that dies after a shim has deleted a container and before the exit is recorded loses nothing",
  leaklessAcross(served, async () => {
    const pod = await openPod(daemon, bare());
    const id = await runIn(pod, script("while [ ! -e /go ]; do sleep 0.05; done; exit 7"));
    const go = `/proc/${await pidOf(daemon, id)}/root/go`;
    await daemon.kill9();
    // The records of this moment replace later ones below, so that the recorded end is lost.
    const names = ["davit.db", "davit.db-wal"].map((name) => path.join(daemon.paths.root, name));
    const records = names.map((name) => (existsSync(name) ? readFileSync(name) : undefined));
    await launchDaemon(daemon);
    writeFileSync(go, "");
    const known = await exited(daemon, id);
    assert.deepEqual([known.exitCode, known.reason], [7, "Error"]);
    await daemon.kill9();
    for (const [at, name] of names.entries()) {
      const bytes = records[at];
      if (bytes === undefined) rmSync(name, { force: true });
      else writeFileSync(name, bytes);
    }
    await launchDaemon(daemon);
    assert.deepEqual(await exited(daemon, id), known);
    await closePod(pod);
  }),
);

describe("a shim that hangs", () => {
  test(
    "delays no other call, and neither the stop nor the removal of its containers",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod);
        const pid = await pidOf(daemon, id);
        const shim = shimOf(pid);
        process.kill(shim, "SIGSTOP");
        await inPod(daemon, bare(), async (other) => {
          await exited(daemon, await runIn(other, script("exit 0")));
        });
        await stop(daemon, id, 1);
        assert.equal((await containerStatus(daemon, id)).state, EXITED);
        assert.ok(!isThere(pid));
        await remove(daemon, id);
        assert.ok(!isThere(shim));
      }),
    ),
  );

  test(
    "during a restart: its container has its recorded state, and continues when the shim does",
    leaklessAcross(served, async () => {
      const pods = [await openPod(daemon, bare()), await openPod(daemon, bare())] as const;
      const id = await runIn(pods[0], script("trap 'exit 9' TERM; while :; do sleep 0.05; done"));
      const other = await runIn(pods[1]);
      const shim = shimOf(await pidOf(daemon, id));
      process.kill(shim, "SIGSTOP");
      await daemon.kill9();
      await launchDaemon(daemon);
      assert.equal((await containerStatus(daemon, id)).state, RUNNING);
      assert.equal((await exec(daemon, other, ["true"])).exitCode, 0);
      process.kill(shim, "SIGCONT");
      await stop(daemon, id, 20);
      assert.equal((await containerStatus(daemon, id)).exitCode, 9);
      for (const pod of pods) await closePod(pod);
    }),
  );
});

describe("a shim that hangs when its pod gets another container", () => {
  test(
    "is not replaced by another shim, and ends with the pod",
    leaklessAcross(served, async () => {
      const pod = await openPod(daemon, bare());
      const shim = shimOf(await pidOf(daemon, await runIn(pod)));
      const next = await createIn(pod);
      process.kill(shim, "SIGSTOP");
      // The next daemon has no connection to the shim.
      await daemon.kill9();
      await launchDaemon(daemon);
      await assert.rejects(start(daemon, next), /does not answer/);
      assert.ok(isThere(shim));
      await closePod(pod);
      assert.ok(!isThere(shim));
    }),
  );
});

describe("a shim's start that fails", () => {
  /** A container of the scripted shim whose start must fail with these words. */
  async function failsToStart(starts: string, words: RegExp): Promise<void> {
    writeFileSync(path.join(scripted, "start"), `${starts}\n`);
    const config = bare();
    const { podSandboxId: id } = await daemon.client.runtime.runPodSandbox({
      config,
      runtimeHandler: "scripted",
    });
    try {
      const made = await createIn({ daemon, id, config }, container());
      await assert.rejects(start(daemon, made), words);
      const { state, reason, message } = await containerStatus(daemon, made);
      assert.deepEqual([state, reason], [EXITED, "StartError"]);
      assert.match(message, words);
    } finally {
      await daemon.client.runtime.removePodSandbox({ podSandboxId: id });
    }
  }

  const cases: readonly (readonly [what: string, starts: string, words: RegExp])[] = [
    ["reports why", "echo out of luck >&2; exit 3", /start: out of luck/],
    ["prints nothing", "exit 3", /start: exit code 3/],
    ["returns no address", "exit 0", /returned no address/],
    ["requires gRPC", `echo '{"version":3,"address":"unix:///x","protocol":"grpc"}'`, /"ttrpc"/],
    ["returns a socket that does not exist", "echo unix:///nowhere/s", /no such socket/],
  ];
  for (const [what, starts, words] of cases) {
    test(
      what,
      leakless(served, () => failsToStart(starts, words)),
    );
  }

  test(
    "sends an invalid answer",
    leakless(served, async () => {
      const socket = path.join(scripted, "s");
      const server: Server = createServer((peer) => {
        peer.on("error", () => undefined);
        peer.on("data", () => peer.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
      });
      await new Promise<void>((resolve) => {
        server.listen(socket, resolve);
      });
      try {
        await failsToStart(`echo unix://${socket}`, /does not speak ttrpc/);
      } finally {
        server.close();
      }
    }),
  );

  test(
    "hangs: a removal ends it",
    leakless(served, async () => {
      writeFileSync(path.join(scripted, "start"), `: >${scripted}/called; sleep 100000\n`);
      const config = bare();
      const { podSandboxId: id } = await daemon.client.runtime.runPodSandbox({
        config,
        runtimeHandler: "scripted",
      });
      const made = await createIn({ daemon, id, config }, container());
      const starting = assert.rejects(start(daemon, made), /./);
      await until("the shim is called", () => existsSync(`${scripted}/called`));
      await remove(daemon, made);
      await starting;
      await daemon.client.runtime.removePodSandbox({ podSandboxId: id });
    }),
  );
});

test(
  "a handler that does not exist, and options that its shim does not know, are refused by name",
  leakless(served, async () => {
    const run = (runtimeHandler: string) =>
      daemon.client.runtime.runPodSandbox({ config: bare(), runtimeHandler });
    await assert.rejects(
      run("none"),
      failsWith(code.invalidArgument, /which has: crun, odd, runc, scripted, shim/),
    );
    await assert.rejects(
      run("odd"),
      failsWith(code.invalidArgument, /unknown option "Binary"; known are: .*BinaryName/),
    );
  }),
);
