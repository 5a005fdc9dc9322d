/** The SDK (docs/sdk.md) on a server of its own, as programs use it: from dist/sdk, by Davit.start(). */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { after, before, describe, test } from "node:test";
import type * as sdk from "../../src/sdk/index.ts";
import { failure as thrownBy } from "../../src/sdk/testing/failure.ts";
import { patient } from "../support/patience.ts";
import { busyboxRoot } from "../support/sdk.ts";
import { until } from "../support/suites/pods.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const program = path.join(repo, "bin/davit");
const built = path.join(repo, "dist/sdk/index.js");
const { Davit, DavitError, ExecError } = (await import(built)) as typeof sdk;

const image = "test.local/busybox:1";
const directory = mkdtempSync(path.join(tmpdir(), "davit-sdk-test-"));
const ownRoots = (): readonly string[] =>
  existsSync("/run/davit-attached")
    ? readdirSync("/run/davit-attached", { withFileTypes: true })
        .filter((each) => each.isDirectory())
        .map(({ name }) => name)
    : [];

let davit: sdk.Davit;
let log: string[];

before(async () => {
  log = [];
  davit = await Davit.start({ program, onLog: (line) => log.push(line) });
  await davit.load({
    rootfs: busyboxRoot(path.join(directory, "busybox")),
    tag: image,
    config: { cmd: ["sh"], env: { PATH: "/bin" } },
  });
});

after(async () => {
  await davit.close();
  assert.deepEqual(ownRoots(), [], "the server has removed its directories");
  rmSync(directory, { recursive: true });
});

/** A container that runs until it is stopped. */
const sleeper = { command: ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"] };

const failure = (work: PromiseLike<unknown>): Promise<sdk.DavitError> => thrownBy(work, DavitError);

describe("run()", () => {
  test("gives a pod with an address, whose port can be reached and forwarded", async () => {
    await using pod = await davit.run(image, {
      command: ["sh", "-c", "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www"],
      ready: { http: "/index.html", port: 80 },
    });
    assert.match(pod.address, /^\d+\.\d+\.\d+\.\d+$/);
    await using forward = await pod.forward(80);
    assert.equal(await fetched(`${forward.url}/index.html`), "hello\n");
    const { operations } = await pod.why();
    assert.ok(operations.some(({ stages }) => stages.length > 0));
    assert.deepEqual(
      (await davit.pods({ name: pod.name })).map(({ id }) => id),
      [pod.id],
    );
  });

  test("rejects with the end of the log when the container ends before it is ready", async () => {
    const options = { command: ["sh", "-c", "echo cannot start; exit 3"], ready: { port: 80 } };
    const error = await failure(davit.run(image, options));
    assert.equal(error.kind, "ended");
    assert.match(error.message, /exited with code 3 .*; the end of its log:\n {2}cannot start$/);
    assert.deepEqual(await davit.pods(), []);
  });

  test("waits for a line of the log, and a pod without a network is ready by its port", async () => {
    await using _log = await davit.run(image, {
      command: ["sh", "-c", "sleep 0.2; echo now ready; sleep 1000"],
      ready: { log: /now ready/ },
      graceSeconds: 0,
    });
    await using pod = await davit.run(image, {
      command: ["sh", "-c", "sleep 0.2; exec httpd -f -p 8080"],
      network: "none",
      ready: { port: 8080 },
      graceSeconds: 0,
    });
    assert.equal(pod.address, "");
  });

  test("explains what is wrong with an image, and leaves nothing", async () => {
    const error = await failure(davit.run("test.local/nothing:1", { pull: "never" }));
    assert.match(error.message, /not present/);
    assert.deepEqual(await davit.pods(), []);
  });

  test("limits memory, processes and time", async () => {
    const pod = await davit.run(image, {
      ...sleeper,
      memory: "32Mi",
      pids: 16,
      timeoutMs: patient(4_000),
    });
    const bomb = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; echo started";
    const { stderr } = await pod.exec(["sh", "-c", bomb], { check: false });
    assert.match(stderr, /fork|Resource temporarily unavailable/);
    const killed = await pod.exec(["sh", "-c", "tail -c 100000000 /dev/zero"], { check: false });
    assert.notEqual(killed.exitCode, 0);
    for (let tries = 0; tries < patient(200) && (await davit.pods()).length > 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.deepEqual(await davit.pods(), []);
  });
});

describe("a container", () => {
  let pod: sdk.Pod;
  before(async () => {
    pod = await davit.run(image, { ...sleeper, env: { OWN: "1" } });
  });
  after(() => pod.remove());

  test("runs commands with values as arguments, environment, user and directory", async () => {
    assert.equal((await pod.exec`echo ${"a b; $HOME"}`).stdout, "a b; $HOME\n");
    const env = await pod.exec(["sh", "-c", "echo $OWN$MORE; id -u; pwd"], {
      env: { MORE: "2" },
      user: "1000",
      workdir: "/tmp",
    });
    assert.equal(env.stdout, "12\n1000\n/tmp\n");
    const error = await failure(pod.exec`ls /nowhere`);
    assert.ok(error instanceof ExecError);
    assert.deepEqual(
      [error.exitCode, error.stderr],
      [1, "ls: /nowhere: No such file or directory\n"],
    );
    const missing = await failure(pod.exec`no-such-program`);
    assert.equal(missing.kind, "not-found", missing.message);
    assert.ok(!missing.message.includes(" (stage"), missing.message);
  });

  test("has commands with streams, a terminal and signals", async () => {
    await using cat = await pod.spawn(["cat"]);
    cat.stdin.end("through");
    assert.equal(await text(cat.stdout), "through");
    assert.deepEqual(await cat.exit, { exitCode: 0 });
    await using sh = await pod.spawn([
      "sh",
      "-c",
      "trap 'echo got; exit 5' USR1; echo up; while :; do sleep 0.1; done",
    ]);
    const output = shows(sh.stdout);
    await output("up\n");
    sh.kill("SIGUSR1");
    await output("got\n");
    assert.deepEqual(await sh.exit, { exitCode: 5 });
    const terminal = { width: 91, height: 27 };
    // NOTE(crun): a command may begin before its terminal has a size. Input comes after that.
    const script = "while read x; do stty size; done; exit 6";
    await using tty = await pod.spawn(["sh", "-c", script], { terminal });
    const screen = shows(tty.stdout);
    tty.stdin.write("\n");
    await screen("27 91\r\n");
    tty.resize({ width: 80, height: 24 });
    await screen("24 80\r\n", () => tty.stdin.write("\n"));
    // Ctrl-D ends the input.
    tty.stdin.write("\u0004");
    assert.deepEqual(await tty.exit, { exitCode: 6 });
  });

  test("ends a command with its signal, its limit, or its owner", async () => {
    const late = await failure(pod.exec(["sleep", "1000"], { timeoutMs: 200 }));
    assert.equal(late.kind, "deadline");
    {
      await using _sleep = await pod.spawn(["sleep", "999"]);
      assert.match((await pod.exec`ps`).stdout, /sleep 999/);
    }
    for (let tries = 0; tries < 100; tries++) {
      if (!/sleep 999/.test((await pod.exec`ps`).stdout)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.fail("the command runs on");
  });

  test("has its files read, written and copied", async () => {
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, at) => (at * 7) % 256);
    await pod.write("/data/deep/data", bytes, { mode: 0o600 });
    assert.deepEqual(new Uint8Array(await pod.read("/data/deep/data")), bytes);
    assert.match((await pod.exec`ls -l /data/deep/data`).stdout, /^-rw------- .* 3000000 /);
    await pod.write("/data/text", "one\n");
    await pod.copyOut("/data", path.join(directory, "out"));
    assert.equal(readFileSync(path.join(directory, "out/text"), "utf8"), "one\n");
    mkdirSync(path.join(directory, "in/deep"), { recursive: true });
    writeFileSync(path.join(directory, "in/deep/file"), "in\n");
    await pod.copyIn(path.join(directory, "in"), "/data");
    assert.equal(await pod.readText("/data/in/deep/file"), "in\n");
    assert.equal((await failure(pod.read("/data/none"))).kind, "not-found");
  });

  test("tells its usage", async () => {
    const usage = await pod.usage();
    assert.equal(usage.ended, false);
    assert.ok((usage.memoryBytes ?? 0) > 0 && (usage.cpuMs ?? 0) > 0, JSON.stringify(usage));
  });
});

test("logs() and ended() follow a container to its end, and its usage stays", async () => {
  await using pod = await davit.run(image, {
    command: ["sh", "-c", "echo one; echo two >&2; sleep 0.3; printf three; exit 7"],
  });
  const lines: string[] = [];
  for await (const line of pod.logs({ follow: true })) lines.push(`${line.stream} ${line.text}`);
  assert.deepEqual(lines.toSorted(), ["stderr two", "stdout one", "stdout three"]);
  const { exitCode, reason } = await pod.ended();
  assert.deepEqual([exitCode, reason], [7, "Error"]);
  assert.equal((await pod.usage()).ended, true);
});

test("a paused pod or container runs no command until it is resumed, and is removed as it is", async () => {
  await using pod = await davit.run(image, sleeper);
  const container = await pod.container();
  for (const paused of [pod, container]) {
    assert.deepEqual(await paused.pause(), { reclaimedBytes: 0 });
    const error = await failure(pod.exec`true`);
    assert.equal(error.kind, "failed", error.message);
    assert.match(error.message, /it is paused/);
    await paused.resume();
    assert.equal((await pod.exec`echo on`).stdout, "on\n");
  }
  await pod.pause();
});

test("an image without programs runs, and says what it cannot do", async () => {
  const root = path.join(directory, "bare");
  busyboxRoot(root, ["sleep"]);
  await davit.load({ rootfs: root, tag: "test.local/bare:1" });
  await using pod = await davit.run("test.local/bare:1", {
    command: ["/bin/sleep", "1000"],
    graceSeconds: 0,
  });
  const works = [
    () => pod.write("/x", "x"),
    () => pod.read("/etc/passwd"),
    () => pod.copyOut("/etc", directory),
  ];
  for (const work of works) {
    const error = await failure(work());
    assert.equal(error.kind, "unsupported", error.message);
    assert.match(error.message, /the image has/);
  }
});

test("events() tells what happens, and pull() of a missing registry says so", async () => {
  const stop = new AbortController();
  const types: string[] = [];
  const reading = (async () => {
    for await (const event of davit.events({ signal: stop.signal })) types.push(event.type);
  })();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const pod = await davit.run(image, sleeper);
  await pod.remove();
  const error = await failure(davit.pull("127.0.0.1:1/nothing:1"));
  assert.equal(error.kind, "registry", error.message);
  stop.abort();
  await reading;
  for (const type of [
    "container-created",
    "container-started",
    "container-ended",
    "container-removed",
  ]) {
    assert.ok(types.includes(type), `${type} in ${types.join(", ")}`);
  }
});

test("apply() runs a manifest, and replaces it", async () => {
  const manifest = `
apiVersion: v1
kind: Pod
metadata: { name: two }
spec:
  initContainers: [{ name: first, image: "${image}", command: [sh, -c, "echo made >/shared/file"], volumeMounts: [{ name: s, mountPath: /shared }] }]
  containers:
  - { name: a, image: "${image}", command: [sleep, "1000"], volumeMounts: [{ name: s, mountPath: /shared }] }
  - { name: b, image: "${image}", command: [sleep, "1000"] }
  volumes: [{ name: s, emptyDir: {} }]
  terminationGracePeriodSeconds: 0
`;
  const [pod] = await davit.apply(manifest);
  assert.ok(pod !== undefined);
  assert.equal(await (await pod.container("a")).readText("/shared/file"), "made\n");
  assert.deepEqual((await pod.containers()).map(({ name }) => name).toSorted(), ["a", "b"]);
  assert.equal((await failure(davit.apply(manifest))).kind, "already-exists");
  const [again] = await davit.apply(manifest, { replace: true });
  assert.notEqual(again?.id, pod.id);
  await again?.remove();
});

describe("the end of a program", () => {
  test("removes what it ran, also when it is killed", async () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      const child = startProgram(`
        import { Davit } from ${JSON.stringify(built)};
        const davit = await Davit.connect({ endpoint: ${JSON.stringify(davit.endpoint)} });
        const pod = await davit.run(${JSON.stringify(image)}, { command: ["sleep", "1000"] });
        console.log(pod.id);
        setInterval(() => {}, 1000);
      `);
      const id = await firstLine(child);
      assert.ok((await davit.pods()).some((pod) => pod.id === id));
      child.kill(signal);
      await untilNone(async () => (await davit.pods()).filter((pod) => pod.id === id));
    }
  });

  test("happens by itself while a connection is open, and keeps what it is told to", async () => {
    const child = startProgram(`
      import { Davit } from ${JSON.stringify(built)};
      const davit = await Davit.connect({ endpoint: ${JSON.stringify(davit.endpoint)} });
      const options = { command: ["sleep", "1000"], graceSeconds: 0 };
      const kept = await davit.run(${JSON.stringify(image)}, { ...options, name: "kept", onDisconnect: "keep" });
      const gone = await davit.run(${JSON.stringify(image)}, { ...options, name: "gone" });
      console.log("ran");
    `);
    assert.equal(await firstLine(child), "ran");
    assert.equal(await exitOf(child), 0);
    await untilNone(() => davit.pods({ name: "gone" }));
    const [kept] = await davit.pods({ name: "kept" });
    assert.ok(kept !== undefined);
    await kept.remove({ graceSeconds: 0 });
  });

  test("ends a server of its own, also when it is killed", async () => {
    const others = ownRoots();
    const child = startProgram(`
      import { Davit } from ${JSON.stringify(built)};
      const davit = await Davit.start({ program: ${JSON.stringify(program)} });
      await davit.load({ rootfs: ${JSON.stringify(path.join(directory, "busybox"))}, tag: "x:1", config: { cmd: ["sleep", "1000"], env: { PATH: "/bin" } } });
      await davit.run("x:1");
      console.log(davit.endpoint);
      setInterval(() => {}, 1000);
    `);
    const endpoint = await firstLine(child);
    const socket = endpoint.replace("unix://", "");
    assert.ok(existsSync(socket), endpoint);
    assert.equal(ownRoots().length, others.length + 1);
    child.kill("SIGKILL");
    await untilNone(async () => ownRoots().filter((id) => !others.includes(id)));
    assert.ok(!existsSync(socket));
  });
});

test("Davit.start() without a bridge runs pods without a network", async () => {
  await using own = await Davit.start({ program, network: "none" });
  await own.load({
    rootfs: path.join(directory, "busybox"),
    tag: "x:1",
    config: { env: { PATH: "/bin" } },
  });
  await using pod = await own.run("x:1", sleeper);
  const { stdout } = await pod.exec`ip -o addr`;
  assert.doesNotMatch(stdout, /eth0/);
});

test("Davit.start() says what is wrong", async () => {
  const missing = await failure(Davit.start({ program: "/nowhere/davit" }));
  assert.equal(missing.kind, "not-found");
  const broken = await failure(Davit.start({ program, config: "nonsense = 1" }));
  assert.match(broken.message, /nonsense/);
});

function startProgram(text: string): ChildProcess {
  const file = path.join(directory, `program-${Date.now()}-${Math.random()}.mjs`);
  writeFileSync(file, text);
  return spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout !== null);
  for await (const line of createInterface({ input: child.stdout })) return line;
  throw new Error(`the program printed nothing; it ended with ${child.exitCode}`);
}

function exitOf(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once("exit", resolve));
}

async function untilNone(list: () => Promise<readonly unknown[]>): Promise<void> {
  await until(
    () => `none of it is left; the log of the server:\n${log.slice(-10).join("\n")}`,
    async () => (await list()).length === 0,
    20_000,
  );
}

/** Collects an output. The result waits for a text in it, and calls `meanwhile` before each check. */
function shows(output: Readable): (part: string, meanwhile?: () => unknown) => Promise<unknown> {
  let all = "";
  output.on("data", (chunk: Buffer) => (all += String(chunk)));
  return (part, meanwhile) =>
    until(
      () => `it shows ${JSON.stringify(part)}, after ${JSON.stringify(all.slice(-200))}`,
      () => {
        meanwhile?.();
        return all.includes(part);
      },
    );
}

async function text(stream: AsyncIterable<unknown>): Promise<string> {
  let all = "";
  for await (const chunk of stream) all += String(chunk);
  return all;
}

function fetched(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(url, { agent: false }, (response) => void text(response).then(resolve, reject)).on(
      "error",
      reject,
    );
  });
}
