/** Snapshots of pods for programs and people: the SDK and the commands, on a server of their own. */
import assert from "node:assert/strict";
import { spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type * as sdk from "../../src/sdk/index.ts";
import { failure as thrownBy } from "../../src/sdk/testing/failure.ts";
import { patient } from "../support/patience.ts";
import { nodeRoot } from "../support/node-root.ts";
import { busyboxRoot } from "../support/sdk.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const program = path.join(repo, "bin/davit");
const { Davit, DavitError } = (await import(path.join(repo, "dist/sdk/index.js"))) as typeof sdk;

const image = "test.local/busybox:1";
const directory = mkdtempSync(path.join(tmpdir(), "davit-snapshots-test-"));
const pods = path.join(directory, "pods");
const skip = spawnSync("criu", ["--version"]).error === undefined ? false : "criu is not installed";

/** Counts in memory, and writes each number to its log and to a file in its root. */
const counter = {
  command: [
    "sh",
    "-c",
    "n=0; while :; do n=$((n + 1)); echo $n; echo $n >/count; sleep 0.05; done",
  ],
  graceSeconds: 0,
};

let davit: sdk.Davit;
let root: string;

before(async () => {
  root = path.join(directory, "root");
  davit = await Davit.start({ program, root });
  const rootfs = busyboxRoot(path.join(directory, "busybox"));
  await davit.load({ rootfs, tag: image, config: { cmd: ["sh"], env: { PATH: "/bin" } } });
});

after(async () => {
  await davit.close();
  rmSync(directory, { recursive: true });
});

/** Runs `davit` on the server of the test. */
function cli(...args: readonly string[]): SpawnSyncReturns<string> {
  const env = { ...process.env, DAVIT_ENDPOINT: davit.endpoint };
  return spawnSync(program, args, { env, encoding: "utf8", timeout: patient(60_000) });
}

function done(result: SpawnSyncReturns<string>): string {
  assert.equal(result.status, 0, result.stdout + result.stderr);
  return result.stdout;
}

/** The number that the counter has reached, from the file in its root. */
async function countOf(pod: sdk.Pod): Promise<number> {
  return Number(await pod.readText("/count"));
}

async function countsTo(pod: sdk.Pod, least: number): Promise<number> {
  for (let tries = 0; tries < patient(200); tries++) {
    // The file does not exist at first.
    const count = await countOf(pod).catch(() => 0);
    if (count >= least) return count;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the counter does not reach ${least}`);
}

/** The numbers in a pod's log, which must follow on each other. */
async function logged(pod: sdk.Pod): Promise<readonly number[]> {
  const numbers: number[] = [];
  for await (const { text } of pod.logs()) numbers.push(Number(text));
  const [first = 0] = numbers;
  assert.deepEqual(
    numbers,
    Array.from(numbers, (_, at) => first + at),
  );
  return numbers;
}

const failure = (work: PromiseLike<unknown>): Promise<sdk.DavitError> => thrownBy(work, DavitError);

const filesOf = (name: string): readonly string[] => {
  const at = path.join(root, "checkpoints", name);
  return existsSync(at) ? readdirSync(at) : [];
};

describe("the SDK", { skip }, () => {
  test("restores a pod where it was, and both run on", async () => {
    await using pod = await davit.run(image, counter);
    await countsTo(pod, 3);
    await using snapshot = await pod.snapshot();
    const after = await countOf(pod);
    assert.equal(snapshot.podName, pod.name);
    assert.deepEqual(snapshot.containers, [{ name: "busybox", image }]);
    assert.ok(snapshot.sizeBytes > 50_000);
    assert.deepEqual(
      (await davit.snapshots()).map(({ id }) => id),
      [snapshot.id],
    );
    assert.equal(
      statSync(path.join(root, "checkpoints/snapshots", snapshot.id)).mode & 0o777,
      0o700,
    );

    await using restored = await davit.restore(snapshot, { labels: { copy: "yes" } });
    assert.notEqual(restored.name, pod.name);
    assert.notEqual(restored.address, pod.address);
    assert.equal(restored.labels["copy"], "yes");
    await countsTo(restored, after + 3);
    const [first = 0] = await logged(restored);
    assert.ok(first > 3 && first <= after + 1, `it continued at ${first} of ${after}`);
    assert.equal(await restored.readText("/proc/sys/kernel/hostname"), `${restored.name}\n`);
    await countsTo(pod, after + 3);
    assert.equal((await logged(pod))[0], 1, "the first one was not disturbed");
    await restored.remove();
    assert.deepEqual(filesOf("restores"), []);
  });

  test("restores a program of several threads, each with its seccomp filter", async () => {
    const rootfs = nodeRoot(path.join(directory, "node"));
    const [loaded] = await davit.load({ rootfs, tag: "test.local/node:1" });
    // Counts, and says what the kernel says of seccomp in each of its threads.
    const code = `
      const { readdirSync, readFileSync } = require("node:fs");
      const modeOf = (id) => /^Seccomp:\\s*(.*)/m.exec(readFileSync("/proc/self/task/" + id + "/status", "utf8"))[1];
      let count = 0;
      setInterval(() => console.log(++count, readdirSync("/proc/self/task").map(modeOf).join("")), 50);`;
    const options = { command: ["/bin/node", "-e", code], graceSeconds: 0 };
    const line = /^(\d+) (2+)$/;
    await using pod = await davit.run("test.local/node:1", { ...options, ready: { log: line } });
    await using snapshot = await pod.snapshot();
    await using restored = await davit.restore(snapshot, { ready: { log: line } });
    for await (const { text } of restored.logs()) {
      const [, count, modes = ""] = line.exec(text) ?? assert.fail(text);
      assert.ok(Number(count) > 1, "it starts from scratch");
      assert.ok(modes.length > 4, "Node.js has several threads");
    }
    await restored.remove();
    await snapshot.remove();
    await pod.remove();
    await loaded?.remove();
  });

  test("forks a pod, and removes all of its copies", async () => {
    await using pod = await davit.run(image, counter);
    await countsTo(pod, 3);
    {
      await using fork = await davit.fork(pod, 3, { name: "copy" });
      assert.deepEqual(
        fork.pods.map(({ name }) => name),
        ["copy-1", "copy-2", "copy-3"],
      );
      assert.equal(new Set(fork.pods.map(({ address }) => address)).size, 3);
      const counts = await Promise.all(fork.pods.map((each) => countsTo(each, 10)));
      assert.ok(counts.every((count) => count >= 10));
    }
    assert.deepEqual(
      (await davit.pods()).map(({ id }) => id),
      [pod.id],
    );
    assert.deepEqual(await davit.snapshots(), [], "its snapshot is removed");
    assert.deepEqual([...filesOf("snapshots"), ...filesOf("restores")], []);
    assert.equal((await failure(davit.fork(pod, 0))).kind, "invalid");
  });

  test("imports what was exported, and refuses what was changed", async () => {
    const archive = path.join(directory, "counter.tar");
    {
      await using pod = await davit.run(image, counter);
      await countsTo(pod, 3);
      await using snapshot = await pod.snapshot();
      const parts: Uint8Array[] = [];
      for await (const part of snapshot.export()) parts.push(part);
      writeFileSync(archive, Buffer.concat(parts));
    }
    await using imported = await davit.importSnapshot(archive);
    await using pod = await davit.restore(imported.id, { network: "none" });
    await countsTo(pod, 6);

    const bytes = readFileSync(archive);
    // In the memory of the process: a block behind the header of its file.
    const at = bytes.indexOf("containers/busybox/checkpoint/pages-") + 1000;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    const changed = path.join(directory, "changed.tar");
    writeFileSync(changed, bytes);
    assert.match((await failure(davit.importSnapshot(changed))).message, /was changed/);
    writeFileSync(changed, bytes.subarray(0, bytes.length / 2));
    assert.match((await failure(davit.importSnapshot(changed))).message, /cut|end/);
    assert.equal((await failure(davit.importSnapshot(`${changed}.not`))).kind, "not-found");
    writeFileSync(changed, "no archive");
    await failure(davit.importSnapshot(changed));
    assert.deepEqual(filesOf("snapshots"), [imported.id]);
  });

  test("leaves nothing of a restore that fails, and keeps the image that a snapshot needs", async () => {
    await using pod = await davit.run(image, counter);
    await using snapshot = await pod.snapshot();
    const [kept] = await davit.images();
    assert.ok(kept !== undefined);
    const before = await davit.cri.image.listImages({});
    assert.ok(before.images.every(({ pinned }) => pinned));
    const clash = await failure(
      davit.restore(snapshot, { name: "a", ready: { log: /never/ }, readyTimeoutMs: 300 }),
    );
    assert.equal(clash.kind, "deadline");
    await snapshot.remove();
    assert.equal((await failure(davit.restore(snapshot))).kind, "not-found");
    assert.deepEqual(
      (await davit.pods()).map(({ id }) => id),
      [pod.id],
    );
    const now = await davit.cri.image.listImages({});
    assert.ok(now.images.every(({ pinned }) => !pinned));
  });
});

describe("the command line", { skip }, () => {
  const run = ["run", "-d", "--pods-directory", pods, "--name", "counter", image];
  const restoreIn = (...words: readonly string[]): SpawnSyncReturns<string> =>
    cli("restore", "--pods-directory", pods, ...words);
  const podOf = async (name: string): Promise<sdk.Pod> => {
    const [found] = await davit.pods({ name, stopped: false });
    assert.ok(found !== undefined, `there is a pod ${name}`);
    return found;
  };

  test("puts a pod to sleep in a file, and wakes it up", async () => {
    done(cli(...run, ...counter.command));
    const pod = await podOf("counter");
    await countsTo(pod, 3);
    const file = path.join(directory, "counter-cli.tar");
    done(cli("checkpoint", "counter", "-o", file, "--stop"));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const reached = (await logged(pod)).at(-1) ?? 0;
    done(cli("down", "--pods-directory", pods, "default/counter"));
    assert.deepEqual(filesOf("snapshots"), [], "the file is the only copy");

    const shown = JSON.parse(done(restoreIn(file, "-o", "json"))) as { name: string; id: string };
    assert.equal(shown.name, "counter", "the name is free again");
    assert.deepEqual(filesOf("snapshots"), []);
    const restored = await podOf("counter");
    await countsTo(restored, reached + 3);
    const again = restoreIn(file, "--name", "counter");
    assert.equal(again.status, 1);
    assert.match(again.stderr, /there is a pod "default\/counter" already, nothing was done/);
    const table = done(restoreIn(file, "--name", "second"));
    assert.match(table, /^POD ID +NAMESPACE +NAME +ADDRESS +CONTAINERS\n\w{12} +default +second /);
    done(cli("rm", "-f", "-t", "0", "--pods-directory", pods, "counter", "second"));
    assert.deepEqual(existsSync(pods) ? readdirSync(pods) : [], []);
  });

  test("stops no pod whose archive nobody has, and leaves no snapshot", async () => {
    done(cli(...run, ...counter.command));
    const pod = await podOf("counter");
    const count = await countsTo(pod, 2);
    const line = `{ "${program}" checkpoint --stop counter -o -; echo "code $?" >&2; } | true`;
    const env = { ...process.env, DAVIT_ENDPOINT: davit.endpoint };
    const piped = spawnSync("sh", ["-c", line], { env, encoding: "utf8" });
    assert.match(piped.stderr, /write the archive to stdout: .*\ncode 1$/m);
    await countsTo(pod, count + 2);
    assert.deepEqual(filesOf("snapshots"), []);
    const nowhere = cli("checkpoint", "--stop", "counter", "-o", directory);
    assert.equal(nowhere.status, 2);
    assert.match(nowhere.stderr, /it is a directory; name a file in it/);
    await countsTo(pod, count + 4);
    done(cli("rm", "-f", "-t", "0", "--pods-directory", pods, "counter"));
    await noPods();
  });

  test("lists and removes snapshots", async () => {
    done(cli(...run, ...counter.command));
    const id = done(cli("snapshots", "create", "counter")).trim();
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.match(
      done(cli("snapshots")),
      /^SNAPSHOT ID +NAMESPACE +POD +CONTAINERS +TAKEN +SIZE\n\w{12} +default +counter +\S+ +\d/,
    );
    const { snapshots } = JSON.parse(done(cli("snapshots", "-o", "json"))) as {
      snapshots: readonly { id: string; config: string }[];
    };
    assert.deepEqual(
      snapshots.map((each) => [each.id, each.config]),
      [[id, ""]],
    );
    assert.ok(done(cli("__complete", "--", "restore", "")).includes(id.slice(0, 12)));
    const usage = JSON.parse(done(cli("system", "df", "-o", "json"))) as {
      type: string;
      total: number;
      active: number;
      bytes: number;
      reclaimable: number;
    }[];
    const checkpoints = usage.find(({ type }) => type === "checkpoints");
    assert.ok(checkpoints !== undefined && checkpoints.reclaimable > 10_000);
    assert.deepEqual([checkpoints.total, checkpoints.active], [1, 0]);
    done(restoreIn(id.slice(0, 8), "-q"));
    assert.match(done(cli("pods")), /counter-\w{4} /);
    assert.equal(done(cli("snapshots", "rm", id.slice(0, 12))), `${id.slice(0, 12)}\n`);
    assert.equal(cli("snapshots", "rm", id).status, 3);
    const missing = restoreIn(id);
    assert.equal(missing.status, 3);
    assert.match(missing.stderr, /neither the path of a file nor the id of a snapshot/);
    done(cli("rm", "-f", "-t", "0", "-a", "--pods-directory", pods));
    await noPods();
  });

  test("writes the state of a container, to a file or to stdout", async () => {
    done(cli(...run, ...counter.command));
    const pod = await podOf("counter");
    await countsTo(pod, 2);
    const file = path.join(directory, "container.tar");
    done(cli("checkpoint", "--type", "container", "counter/busybox", "-o", file));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const { stdout: names } = spawnSync("tar", ["-tf", file], { encoding: "utf8" });
    for (const name of ["spec.dump", "config.dump", "checkpoint/inventory.img"]) {
      assert.ok(names.includes(name), names);
    }
    const piped = spawnSync("sh", ["-c", `"${program}" checkpoint counter -o - | tar -t`], {
      env: { ...process.env, DAVIT_ENDPOINT: davit.endpoint },
      encoding: "utf8",
    });
    assert.match(piped.stdout, /^pod\.json$/m, piped.stderr);
    assert.ok(!readdirSync(directory).some((name) => name.startsWith(".davit-checkpoint")));
    const count = await countOf(pod);
    await countsTo(pod, count + 2);
    done(cli("rm", "-f", "-t", "0", "--pods-directory", pods, "counter"));
    await noPods();

    const shown = JSON.parse(done(restoreIn(file, "-o", "json"))) as { name: string };
    assert.equal(shown.name, "counter");
    await countsTo(await podOf("counter"), count + 2);
    const again = done(restoreIn(file, "--name", "other", "-o", "json"));
    assert.deepEqual(Object.keys((JSON.parse(again) as { containers: object }).containers), [
      "busybox",
    ]);
    await countsTo(await podOf("other"), count + 2);
    done(cli("rm", "-f", "-t", "0", "--pods-directory", pods, "counter", "other"));
    await noPods();

    const bytes = readFileSync(file);
    const at = bytes.indexOf("checkpoint/pages-") + 1000;
    bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
    const changed = path.join(directory, "changed-container.tar");
    writeFileSync(changed, bytes);
    const refused = restoreIn(changed);
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /was changed/);
    spawnSync("tar", ["--delete", "-f", file, "davit.json"]);
    assert.match(restoreIn(file).stderr, /this node did not make it/);
    spawnSync("tar", ["-rf", file, "-C", "/etc", "hostname"]);
    assert.match(restoreIn(file).stderr, /"hostname" is not a file of a checkpoint/);
    assert.deepEqual([...filesOf("snapshots"), ...filesOf("restores")], []);
  });

  test("undoes an interrupted restore", async () => {
    done(cli(...run, ...counter.command));
    const id = done(cli("snapshots", "create", "counter")).trim();
    done(cli("rm", "-f", "-t", "0", "--pods-directory", pods, "counter"));
    assert.equal(filesInPods(), 0);
    const env = { ...process.env, DAVIT_ENDPOINT: davit.endpoint };
    const child = spawn(program, ["restore", "--pods-directory", pods, id], { env });
    let errors = "";
    child.stderr.on("data", (bytes: Buffer) => (errors += bytes.toString()));
    // While the server makes the pod.
    for (let tries = 0; tries < patient(500) && filesInPods() === 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill("SIGINT");
    const code = await new Promise((resolve) => child.on("exit", resolve));
    if (code === 0) done(cli("rm", "-f", "-t", "0", "-a", "--pods-directory", pods));
    else assert.match(errors, /interrupted; everything that was created is removed/);
    await noPods();
    assert.equal(filesInPods(), 0);
    done(cli("snapshots", "rm", "--all"));
    assert.deepEqual([...filesOf("snapshots"), ...filesOf("restores")], []);
  });
});

function filesInPods(): number {
  return existsSync(pods) ? readdirSync(pods).length : 0;
}

async function noPods(): Promise<void> {
  for (let tries = 0; tries < patient(100) && (await davit.pods()).length > 0; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.deepEqual(await davit.pods(), []);
}
