/** Checkpoints of containers by CRIU, and containers that continue from them. */
// variants: runc
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { buildEntry, buildTar } from "../../src/unpack/testing/tar-builder.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { imageOf, layerOfTar } from "../support/images.ts";
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
  busybox,
  byRunc,
  containerStatus,
  CREATED,
  createIn,
  imageStatus,
  inPod,
  logLines,
  type Node,
  pull,
  removeImage,
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
    "answers kubelet's checkpoint endpoint",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const id = await runIn(pod, counter());
        const seen = await stateOf(daemon, id);
        const inDirectory = at("kubelet");
        mkdirSync(inDirectory, { mode: 0o700 });
        const { name = "", namespace = "" } = pod.config.metadata ?? {};
        // As kubelet 1.37 names it: the pod's full name, the container, the time with its zone.
        const time = "2026-12-02T03:04:05+01:00";
        const location = path.join(inDirectory, `checkpoint-${name}_${namespace}-c-${time}.tar`);
        // Its timeout is that of its other calls, 2 min, unless the request asks for more; its deadline is the same.
        const seconds = 120;
        const request = { containerId: id, location, timeout: BigInt(seconds) };
        const options = { timeoutMs: seconds * 1000 };
        await daemon.client.runtime.checkpointContainer(request, options);
        assert.deepEqual(readdirSync(inDirectory), [path.basename(location)]);
        assert.equal(statSync(location).mode & 0o7777, 0o600);
        await continuesFrom(daemon, id, seen);
        // A call in the same second, or one with less time than CRIU needs, changes nothing.
        const again = daemon.client.runtime.checkpointContainer(request, options);
        await assert.rejects(again, failsWith(code.alreadyExists));
        const other = { ...request, location: `${location}.2` };
        const late = daemon.client.runtime.checkpointContainer(other, { timeoutMs: 1 });
        await assert.rejects(late, failsWith(code.deadlineExceeded));
        await until("it runs on", async () => !(await isPaused(daemon, id)));
        await until("no other file is left", () => readdirSync(inDirectory).length === 1);
        rmSync(inDirectory, { recursive: true });
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

/** Pushes an image of an archive, as checkpointctl builds it, and pulls it. Returns its name. */
async function pullCheckpoint(
  archive: Buffer | readonly Buffer[],
  annotations: Readonly<Record<string, string>> = { "org.criu.checkpoint.container.name": "c" },
): Promise<string> {
  const layers = [archive].flat().map((tar) => layerOfTar(tar));
  const repository = `e2e/checkpoint-${randomUUID()}`;
  await node.registry.push(repository, imageOf(layers, {}, annotations), ["1"]);
  const name = `registry.k8s.io/${repository}:1`;
  await pull(daemon, name);
  return name;
}

describe("an image with a checkpoint", () => {
  const location = (): string => at("image.tar");
  let seen: CounterState;

  before(() =>
    inPod(daemon, podOf(), async (pod) => {
      const id = await runIn(pod, counter());
      await sh(daemon, id, "echo kept > /new");
      seen = await stateOf(daemon, id);
      await checkpointContainer(daemon, id, location());
    }),
  );
  after(() => rmSync(location()));

  test("is what a new container can continue from", async () => {
    const image = await pullCheckpoint(readFileSync(location()));
    const annotations = { "org.criu.checkpoint.container.name": "c" };
    assert.deepEqual((await imageStatus(daemon, image))?.spec?.annotations, annotations);
    await inPod(daemon, podOf(), async (pod) => {
      const id = await createIn(pod, counter({ image: { image } }));
      assert.equal((await containerStatus(daemon, id)).imageId, await pull(daemon, busybox));
      await removeImage(daemon, image);
      await start(daemon, id);
      await continuesFrom(daemon, id, seen);
      assert.equal(await sh(daemon, id, "cat /new"), "kept");
    });
    assert.deepEqual(readdirSync(path.join(daemon.paths.root, "checkpoints/restores")), []);
  });

  const hostile: readonly (readonly [
    string,
    (tar: Buffer) => Buffer | readonly Buffer[],
    number,
    RegExp,
  ])[] = [
    [
      "a link",
      (tar) =>
        Buffer.concat([
          buildEntry({ name: "checkpoint/x.img", type: "2", linkName: "/etc/shadow" }),
          tar,
        ]),
      code.invalidArgument,
      /"checkpoint\/x.img" is of the type "symlink"/,
    ],
    [
      "an unknown file",
      (tar) => Buffer.concat([buildEntry({ name: "bin/sh", data: "x" }), tar]),
      code.invalidArgument,
      /is not a file of a checkpoint/,
    ],
    [
      "more memory",
      (tar) => Buffer.concat([buildEntry({ name: "checkpoint/x.img", data: "x" }), tar]),
      code.dataLoss,
      /"checkpoint\/x.img" was added to it/,
    ],
    [
      "other memory in a second layer",
      (tar) => [tar, buildTar([{ name: "checkpoint/inventory.img", data: "x" }])],
      code.failedPrecondition,
      /has 2 layers, and that of a checkpoint has one/,
    ],
    [
      "files that are not of this node",
      () => buildTar([{ name: "checkpoint/inventory.img", data: "x" }]),
      code.permissionDenied,
      /this node did not make it/,
    ],
  ];
  for (const [what, change, expected, message] of hostile) {
    test(`is refused with ${what}, and leaves nothing`, async (t) => {
      // Outside of the check: idle connections to the registry last for some seconds.
      const image = await pullCheckpoint(change(readFileSync(location())));
      const refused = leakless(served, async () => {
        await inPod(daemon, podOf(), async (pod) => {
          const create = createIn(pod, counter({ image: { image } }));
          await assert.rejects(create, failsWith(expected, message));
        });
        assert.deepEqual(readdirSync(path.join(daemon.paths.root, "checkpoints/restores")), []);
      });
      await refused(t);
      await removeImage(daemon, image);
    });
  }

  test("is an image like others without the annotation", async () => {
    const image = await pullCheckpoint(readFileSync(location()), {});
    await inPod(daemon, podOf(), async (pod) => {
      const id = await createIn(pod, counter({ image: { image } }));
      await assert.rejects(start(daemon, id), /no such file/i);
    });
    await removeImage(daemon, image);
  });
});

test("the log of a restored container begins with that of the checkpoint, and is rotated", async () => {
  const location = at("logged.tar");
  const logs = at("logs");
  mkdirSync(logs);
  const config = podOf({}, { logDirectory: logs });
  await inPod(daemon, config, async (pod) => {
    const id = await runIn(pod, counter({ logPath: "old.log" }));
    await stateOf(daemon, id);
    await checkpointContainer(daemon, id, location);
  });
  await inPod(daemon, config, async (pod) => {
    const file = path.join(logs, "0.log");
    const id = await createIn(pod, counter({ image: { image: location }, logPath: "0.log" }));
    const former = readFileSync(file, "utf8");
    assert.equal(former, execFileSync("tar", ["-xOf", location, "container.log"]).toString());
    await start(daemon, id);
    await until("it logs", () => statSync(file).size > former.length);
    renameSync(file, `${file}.1`);
    await daemon.client.runtime.reopenContainerLog({ containerId: id });
    await until("it logs to the new file", () => statSync(file).size > 0);
    await stop(daemon, id);
    const said = [`${file}.1`, file].flatMap((each) => logLines(each).map(({ text }) => text));
    const counts = said.map((text) => Number(text.split(" ")[1]));
    // The pipe to the log may have had lines that CRIU has captured as well.
    assert.ok(counts.length > 2 && counts.every((count, at) => count >= (counts[at - 1] ?? 0)));
    const before = logLines(`${file}.1`).length;
    // One more container with the same log: nothing is copied twice.
    await createIn(pod, counter({ image: { image: location }, logPath: "0.log.1" }));
    assert.equal(logLines(`${file}.1`).length, before);
  });
  rmSync(location);
  rmSync(logs, { recursive: true });
});
