/** Checkpoints of containers by CRIU, and containers that continue from them. */
// variants: runc
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  CheckpointDirectory,
  checkpointContainer,
  checkpointNode,
  type CounterState,
  continuesFrom,
  counter,
  isPaused,
  stateOf,
} from "../support/suites/checkpoints.ts";
import {
  byRunc,
  containerStatus,
  CREATED,
  createIn,
  inPod,
  type Node,
  RUNNING,
  runIn,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import { code, failsWith, leakless, pod as podOf, until } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = new CheckpointDirectory();
const at = (name: string): string => directory.at(name);

before(async () => {
  node = await checkpointNode(directory);
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  directory[Symbol.dispose]();
});

function listing(archive: string): readonly string[] {
  return execFileSync("tar", ["-tf", archive], { encoding: "utf8" }).trim().split("\n");
}

function jsonIn(archive: string, name: string): Readonly<Record<string, unknown>> {
  const text = execFileSync("tar", ["-xOf", archive, name], { encoding: "utf8" });
  return JSON.parse(text) as Record<string, unknown>;
}

describe("CheckpointContainer", () => {
  test(
    "writes an archive that others can read, and the container runs on",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const config = counter();
        const id = await runIn(pod, config);
        const seen = await stateOf(daemon, id);
        const location = at("container.tar");
        await checkpointContainer(daemon, id, location);
        assert.equal(statSync(location).mode & 0o7777, 0o600);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        await continuesFrom(daemon, id, seen);
        const names = listing(location);
        for (const name of ["spec.dump", "config.dump", "rootfs-diff.tar", "davit.json"]) {
          assert.ok(names.includes(name), `${name} in ${names.join(" ")}`);
        }
        assert.ok(names.includes("checkpoint/inventory.img"), names.join(" "));
        const dump = jsonIn(location, "config.dump");
        assert.equal(dump["id"], id);
        assert.equal(dump["runtime"], byRunc ? "runc" : "crun");
        const spec = jsonIn(location, "spec.dump") as { process?: { args?: unknown } };
        assert.deepEqual(spec.process?.args, config.command);
        const taken = failsWith(code.alreadyExists, /container\.tar/);
        await assert.rejects(checkpointContainer(daemon, id, location), taken);
        rmSync(location);
      }),
    ),
  );

  test(
    "refuses what it cannot do, and writes nothing",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const id = await createIn(pod);
        const refused = failsWith(code.failedPrecondition, /is created, not running/);
        await assert.rejects(checkpointContainer(daemon, id, at("x.tar")), refused);
        await assert.rejects(
          checkpointContainer(daemon, "0123", at("x.tar")),
          failsWith(code.notFound),
        );
        await start(daemon, id);
        const invalid = failsWith(code.invalidArgument);
        await assert.rejects(checkpointContainer(daemon, id, "x.tar"), invalid);
        await assert.rejects(checkpointContainer(daemon, id, at("none/x.tar")), invalid);
        assert.deepEqual(readdirSync(directory.path), []);
        assert.equal(await isPaused(daemon, id), false);
      }),
    ),
  );

  test(
    "is what a new container can continue from",
    leakless(served, async () => {
      const location = at("moved.tar");
      let seen: CounterState | undefined;
      await inPod(daemon, podOf(), async (pod) => {
        const id = await runIn(pod, counter());
        await sh(daemon, id, "echo kept > /new; rm /etc/group || rm /etc/passwd");
        seen = await stateOf(daemon, id);
        await checkpointContainer(daemon, id, location);
      });
      await inPod(daemon, podOf(), async (pod) => {
        const id = await createIn(pod, counter({ image: { image: location } }));
        assert.equal((await containerStatus(daemon, id)).state, CREATED);
        await start(daemon, id);
        await continuesFrom(daemon, id, seen);
        assert.equal(await sh(daemon, id, "cat /new"), "kept");
        await stop(daemon, id, 10);
      });
      assert.deepEqual(readdirSync(path.join(daemon.paths.root, "checkpoints/restores")), []);
      rmSync(location);
    }),
  );
});

test("the log of a restored container has what it says from then on", () =>
  inPod(daemon, podOf(), async (pod) => {
    const location = at("logged.tar");
    const logs = at("logs");
    mkdirSync(logs);
    const id = await runIn(pod, counter());
    const seen = await stateOf(daemon, id);
    await checkpointContainer(daemon, id, location);
    const config = podOf({}, { logDirectory: logs });
    await inPod(daemon, config, async (other) => {
      const moved = await createIn(
        other,
        counter({ image: { image: location }, logPath: "0.log" }),
      );
      await start(daemon, moved);
      await continuesFrom(daemon, moved, seen);
      await until("it logs", () =>
        readFileSync(path.join(logs, "0.log"), "utf8").includes(seen.word),
      );
    });
    rmSync(location);
  }));
