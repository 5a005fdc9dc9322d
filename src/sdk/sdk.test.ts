import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { RuntimeError } from "../base/errors.ts";
import { ContainerState } from "../gen/runtime/v1/api_pb.ts";
import { Davit, DavitError } from "./index.ts";
import { failure } from "./testing/failure.ts";
import { type FakeContainer, startFake } from "./testing/fake-server.ts";

const ownDirectories = (): readonly string[] =>
  readdirSync(tmpdir()).filter(
    (name) => name.startsWith("davit-sdk-") && name.includes(`-${process.pid}-`),
  );

test("connect() says what to do when nobody answers", async () => {
  const error = await failure(Davit.connect({ endpoint: "/nowhere/davit.sock" }));
  assert.equal(error.kind, "unavailable");
  assert.match(
    error.message,
    /^connect to "\/nowhere\/davit.sock": .*; start davit with "davit serve"/,
  );
  assert.equal((await failure(Davit.connect({ endpoint: "tcp://x" }))).kind, "invalid");
  const signal = AbortSignal.abort(new Error("enough"));
  await using server = await startFake();
  const aborted = await failure(Davit.connect({ endpoint: server.endpoint, signal }));
  assert.equal(aborted.kind, "aborted");
});

test("run() sends what the options say, with a lease, and close() removes it", async () => {
  await using server = await startFake({ address: "127.0.0.1" });
  const davit = await Davit.connect({ endpoint: server.endpoint });
  assert.deepEqual(davit.server, { name: "davit", version: "0.0.0" });
  const pod = await davit.run("test:1", {
    command: ["x", "$(NOT_A_VARIABLE)"],
    env: { A: "$(B)$" },
    memory: "64Mi",
    cpus: 0.5,
    pids: 20,
    disk: 1024,
    network: { allow: ["10.0.0.1:80", "dns"] },
    capabilities: { drop: ["ALL"] },
    readOnlyRoot: true,
    mounts: [{ tmp: "/scratch" }, { host: "/etc", at: "/host", readOnly: true }],
  });
  const [sent] = server.pods;
  assert.ok(sent !== undefined);
  assert.match(pod.name, /^test-[0-9a-f]{8}$/);
  assert.equal(pod.address, "127.0.0.1");
  assert.deepEqual(sent.config.annotations, {
    "davit.egress": "10.0.0.1:80,dns",
    "davit.pids-limit": "20",
    "davit.writable-layer-limit": "1024",
  });
  assert.deepEqual([...server.held], [sent.config.labels["davit.dev/lease"]]);
  const config = sent.containers[0]?.config;
  assert.deepEqual(config?.command, ["x", "$(NOT_A_VARIABLE)"]);
  assert.equal(Buffer.from(config.envs[0]?.value ?? []).toString(), "$(B)$");
  assert.equal(config.linux?.resources?.memoryLimitInBytes, 64n * 1024n * 1024n);
  assert.equal(config.linux.resources.cpuQuota, 50_000n);
  assert.equal(config.linux.securityContext?.readonlyRootfs, true);
  assert.deepEqual(config.linux.securityContext.capabilities?.dropCapabilities, ["ALL"]);
  assert.deepEqual(
    config.mounts.map(({ containerPath }) => containerPath),
    ["/scratch", "/host"],
  );
  assert.equal(ownDirectories().length, 1);
  await davit.close();
  assert.equal(server.pods.length, 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(server.held.size, 0);
  assert.deepEqual(ownDirectories(), []);
  assert.equal((await failure(davit.run("test:1"))).kind, "aborted");
});

test("run() rejects invalid options before it does anything", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const invalid = [
    { memory: "64MB" as "64M" },
    { cpus: -1 },
    { pids: 1.5 },
    { name: "Not A Name" },
    { workdir: 5 as unknown as string },
    { ready: {} as { port: number } },
    { network: "all" as "none" },
    { timeoutMs: Number.NaN },
    // A longer timer would end at once.
    { timeoutMs: 2 ** 31 },
    { command: "sleep 1" as unknown as string[] },
    { env: { A: undefined as unknown as string } },
    { pull: "sometimes" as "never" },
    { onDisconnect: "stay" as "keep" },
    { ready: { port: 65_536 } },
  ];
  for (const options of invalid) {
    const error = await failure(davit.run("test:1", options));
    assert.equal(error.kind, "invalid", `${JSON.stringify(options)}: ${error.message}`);
  }
  assert.ok(!server.calls.includes("RunPodSandbox"));
});

test("run() removes everything when a step fails, and names the stage", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  server.failNext(
    "CreateContainer",
    new RuntimeError(
      "resource-exhausted",
      `create container "x" (stage mount-root, 3 ms): disk is full`,
    ),
  );
  const error = await failure(davit.run("test:1"));
  assert.deepEqual([error.kind, error.stage], ["no-space", "mount-root"]);
  assert.match(
    error.message,
    /^create container "default\/test-[^"]*\/test" \(stage mount-root, 3 ms\): disk is full/,
  );
  assert.equal(server.pods.length, 0);
});

test("pull() can be awaited and looped over, and its failure says that it is the registry's", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  assert.deepEqual((await davit.pull("new:1")).names, ["new:1"]);
  const stages: string[] = [];
  const pull = davit.pull("other:1");
  for await (const { stage, layers } of pull) stages.push(`${stage} ${layers[0]?.state ?? ""}`);
  assert.equal(stages.at(-1), "fetch fetching");
  assert.equal((await pull).id, "id-other:1");
  const error = await failure(davit.pull("missing:1"));
  assert.deepEqual([error.kind, error.stage], ["registry", "resolve"]);
  // A failure that nobody reads is not an unhandled rejection.
  davit.pull("missing:2");
  await new Promise((resolve) => setTimeout(resolve, 60));
});

test("ready waits for the log, a port, HTTP or a command", async () => {
  await using server = await startFake({ address: "127.0.0.1" });
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const http = createServer((request, response) => {
    response.statusCode = request.url === "/ready" ? 204 : 500;
    response.end();
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = http.address() as AddressInfo;
    await davit.run("test:1", { ready: { port } });
    await davit.run("test:1", { ready: { http: "/ready", port } });
    await davit.run("test:1", { ready: { command: ["true"] } });
    const late = { ready: { http: "/", port }, readyTimeoutMs: 200 };
    assert.equal((await failure(davit.run("test:1", late))).kind, "deadline");
    const never = { ready: { command: ["false"] }, readyTimeoutMs: 200 };
    assert.equal((await failure(davit.run("test:1", never))).kind, "deadline");
  } finally {
    http.close();
  }
});

test("ready fails with the end of the log when the container ends", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const running = failure(davit.run("test:1", { ready: { log: /listening/ } }));
  const runningOne = (): FakeContainer | undefined =>
    server.pods[0]?.containers.find(({ state }) => state === ContainerState.CONTAINER_RUNNING);
  let container: FakeContainer | undefined;
  while ((container = runningOne()) === undefined)
    await new Promise((resolve) => setTimeout(resolve, 5));
  container.log.push("starting", "cannot open the file");
  server.end(container, 3);
  const error = await running;
  assert.equal(error.kind, "ended");
  assert.match(
    error.message,
    /exited with code 3 \(Error\); the end of its log:\n {2}starting\n {2}cannot open the file$/,
  );
  assert.equal(server.pods.length, 0);
});

test("logs(), ended(), usage() and stats() follow a container to its end", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using pod = await davit.run("test:1");
  const container = server.pods[0]?.containers[0];
  assert.ok(container !== undefined);
  container.log.push("one", "two");
  const tail: string[] = [];
  for await (const { text, stream } of pod.logs({ tail: 1 })) tail.push(`${stream} ${text}`);
  assert.deepEqual(tail, ["stdout two"]);
  const followed = (async () => {
    const lines: string[] = [];
    for await (const { text } of pod.logs({ follow: true })) lines.push(text);
    return lines;
  })();
  const end = pod.ended();
  await new Promise((resolve) => setTimeout(resolve, 30));
  container.log.push("three");
  server.end(container, 9);
  assert.deepEqual(await followed, ["one", "two", "three"]);
  const { exitCode, reason, finishedAt } = await end;
  assert.deepEqual([exitCode, reason, finishedAt.getTime()], [9, "Error", 1_700_000_000_000]);
  const usage = await pod.usage();
  assert.deepEqual(
    [usage.ended, usage.cpuMs, usage.memoryPeakBytes, usage.pids],
    [true, 5, 7, undefined],
  );
  let samples = 0;
  for await (const _ of pod.stats({ everyMs: 10 })) samples += 1;
  assert.equal(samples, 1);
  const stopped = await failure(pod.ended({ signal: AbortSignal.abort() }));
  assert.equal(stopped.kind, "aborted");
});

test("events() merges those of the CRI and of davit, and ends with its signal", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await using _pod = await davit.run("test:1");
  const stop = new AbortController();
  const types: string[] = [];
  for await (const event of davit.events({ signal: stop.signal })) {
    types.push(event.type);
    const container = server.pods[0]?.containers[0];
    if (types.length === 1 && container !== undefined) server.end(container, 0);
    if (types.length === 2) stop.abort();
  }
  assert.deepEqual(types, ["image-pulled", "container-ended"]);
});

test("apply() runs all pods of a manifest or none, and can replace them", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const pod = (name: string, image: string) => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: {
      containers: [
        { name: "a", image },
        { name: "b", image },
      ],
    },
  });
  const pods = await davit.apply([pod("one", "test:1"), pod("two", "test:1")]);
  assert.deepEqual(pods.map(({ name }) => name).toSorted(), ["one", "two"]);
  const [first] = pods;
  assert.ok(first !== undefined);
  const several = await failure(first.exec`true`);
  assert.match(several.message, /it has several: "a", "b"; choose one with container\(NAME\)/);
  assert.equal((await (await first.container("b")).exec`echo b`).stdout, "b\n");
  assert.equal((await failure(first.container("c"))).kind, "not-found");
  assert.equal((await failure(davit.apply(pod("one", "test:1")))).kind, "already-exists");
  await davit.apply(pod("one", "test:1"), { replace: true });
  assert.equal(server.pods.length, 2);
  const bad = await failure(davit.apply([pod("three", "test:1"), pod("four", "missing:1")]));
  assert.match(bad.message, /missing:1/);
  assert.equal(server.pods.length, 2);
  const invalid = await failure(davit.apply("kind: Deployment"));
  assert.match(invalid.message, /manifest:1: /);
  assert.equal(invalid.kind, "invalid");
});

test("timeoutMs removes a pod, and remove() can be repeated", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const pod = await davit.run("test:1", { timeoutMs: 30 });
  // Nothing here keeps the process, so the test must.
  for (let tries = 0; server.pods.length > 0 && tries < 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(server.pods.length, 0);
  await pod.remove();
});

test("a lease that was lost with a restart is held again by its id", async () => {
  await using server = await startFake();
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  await davit.run("test:1");
  const [id] = server.held;
  server.dropLeases();
  const holds = (): number => server.calls.filter((name) => name === "Hold").length;
  for (let tries = 0; holds() < 2 && tries < 500; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.deepEqual([...server.held], [id]);
  await davit.run("test:1");
  assert.equal(holds(), 2);
  assert.equal(server.pods[1]?.config.labels["davit.dev/lease"], id);
});

test("close() ends what runs, with an error that says so", async () => {
  await using server = await startFake();
  const davit = await Davit.connect({ endpoint: server.endpoint });
  const pod = await davit.run("test:1");
  const command = await pod.spawn(["sleep", "60"]);
  const logs = failure(
    (async () => {
      for await (const _ of pod.logs({ follow: true })) continue;
      throw new DavitError("ended", "the log has ended");
    })(),
  );
  await davit.close();
  await davit.close();
  const error = await failure(command.exit);
  assert.ok(["aborted", "unavailable"].includes(error.kind), error.message);
  assert.ok(["aborted", "ended"].includes((await logs).kind));
});

test("another server has the parts of the CRI, and says what it has not", async () => {
  await using server = await startFake({ name: "containerd" });
  await using davit = await Davit.connect({ endpoint: server.endpoint });
  const error = await failure(davit.run("test:1"));
  assert.equal(error.kind, "unsupported");
  assert.match(error.message, /onDisconnect: "keep"/);
  await using pod = await davit.run("test:1", { onDisconnect: "keep" });
  assert.equal((await failure(pod.usage())).kind, "unsupported");
  const { runtimeName } = await davit.cri.runtime.version({});
  assert.equal(runtimeName, "containerd");
});
