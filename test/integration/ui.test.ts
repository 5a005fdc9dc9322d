/** The server of davit ui with a real daemon: who may use it, and what it sends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { LogLineView, PodDetail } from "../../src/page/view.ts";
import { Davit } from "../support/suites/cli.ts";
import {
  busybox,
  closePod,
  container,
  createIn,
  exited,
  Node,
  openPod,
  type Pod,
  runIn,
  script,
} from "../support/suites/containers.ts";
import { launchDaemon, pod as podConfig, statusOf, until } from "../support/suites/pods.ts";
import { handshake, openHandshake, Ui } from "../support/suites/ui.ts";

let node: Node;
let ui: Ui;
let pod: Pod;
/** A container that writes a line to each stream, and runs. */
let main: string;
before(async () => {
  node = await Node.startWithBusybox();
  const logDirectory = path.join(node.daemon.paths.directory, "logs");
  mkdirSync(logDirectory);
  pod = await openPod(node.daemon, podConfig({}, { logDirectory }));
  const both = "echo '<b>out</b>'; echo err >&2; while :; do sleep 1000; done";
  main = await runIn(
    pod,
    script(both, { metadata: { name: "main", attempt: 0 }, logPath: "main.log" }),
  );
  ui = await Ui.start(node.daemon);
});
after(async () => {
  await ui[Symbol.asyncDispose]();
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

describe("davit ui lets in", () => {
  test("only who has the token", async () => {
    assert.equal(ui.url.hostname, "127.0.0.1");
    assert.ok(Buffer.from(ui.token, "base64url").length >= 16);
    for (const request of ["/api/live", "/api/pod?id=x", "/api/logs?container=x"]) {
      assert.equal((await ui.get(request)).status, 401, request);
      const wrong = { cookie: `davit-ui-${ui.url.port}=${ui.token}` };
      assert.equal((await ui.get(request, { headers: wrong })).status, 401, request);
    }
    assert.equal((await ui.post("/api/action", { action: "stop-pod", id: pod.id })).status, 401);
    assert.equal((await ui.post("/api/login", { token: "x" })).status, 401);
    assert.equal((await ui.post("/api/login", {})).status, 401);
    const { status, headers } = await ui.post("/api/login", { token: ui.token });
    assert.equal(status, 200);
    assert.match(headers["set-cookie"]?.[0] ?? "", /; HttpOnly; SameSite=Strict; /);
  });

  test("no other host, origin or site", async () => {
    await ui.login();
    for (const host of ["evil.test", `evil.test:${ui.url.port}`, "127.0.0.1:1"]) {
      for (const request of ["/", "/api/live"]) {
        assert.equal((await ui.get(request, { headers: { host } })).status, 403, host + request);
      }
    }
    const elsewhere = { "sec-fetch-site": "same-site" };
    assert.equal((await ui.get("/api/pod?id=x", { headers: elsewhere })).status, 403);
    assert.equal((await ui.get("/", { headers: { "sec-fetch-site": "cross-site" } })).status, 200);
    for (const origin of ["http://evil.test", "null", "http://127.0.0.1:1"]) {
      const { status } = await ui.post("/api/login", { token: ui.token }, { origin });
      assert.equal(status, 403, origin);
    }
    const { method, body } = { method: "POST", body: { token: ui.token } };
    assert.equal((await ui.get("/api/login", { method, body })).status, 403, "no origin");
  });

  test("no shell without session, origin and --write", async () => {
    await ui.login();
    const { Cookie: cookie = "", Origin: origin = "", ...key } = ui.shellHeaders;
    const refused = async (headers: Readonly<Record<string, string>>): Promise<string> =>
      (await handshake(ui, main, headers)) ?? "";
    assert.match(await refused({ Origin: origin, ...key }), / 401 /);
    assert.match(await refused({ Cookie: cookie, ...key }), / 403 /);
    assert.match(await refused({ ...ui.shellHeaders, Origin: "http://evil.test" }), / 403 /);
    assert.match(await refused(ui.shellHeaders), / 403 /);
  });

  // A browser sends the cookie to every port of the host, so another server there has it.
  test("nobody who has the cookie but not the key of the page", async () => {
    await ui.login();
    const { cookie, key } = ui;
    for (const wrong of ["", `${key.slice(1)}x`, cookie.split("=")[1] ?? ""]) {
      const headers = { "x-davit-key": wrong };
      for (const request of ["/api/live", `/api/pod?id=${pod.id}`, `/api/logs?container=${main}`]) {
        assert.equal((await ui.get(request, { headers })).status, 401, request);
      }
      const action = { action: "stop-pod", id: pod.id };
      assert.equal((await ui.post("/api/action", action, headers)).status, 401);
      for (const protocols of [`davit-shell, key.${wrong}`, "davit-shell", `key.${key}`]) {
        const shell = { ...ui.shellHeaders, "Sec-WebSocket-Protocol": protocols };
        assert.match((await handshake(ui, main, shell)) ?? "", / 401 /, protocols);
      }
    }
    const { "Sec-WebSocket-Protocol": _, ...bare } = ui.shellHeaders;
    assert.match((await handshake(ui, main, bare)) ?? "", / 401 /);
    assert.equal((await ui.get(`/api/pod?id=${pod.id}`, { headers: { cookie: "" } })).status, 401);
    assert.equal((await ui.get(`/api/pod?id=${pod.id}`)).status, 200);
  });

  test("nobody who changes something, read-only", async () => {
    await ui.login();
    const { status, body } = await ui.post("/api/action", { action: "stop-pod", id: pod.id });
    assert.equal(status, 403);
    assert.match(body, /--write/);
    assert.equal((await statusOf(node.daemon, pod.id)).state, 0);
  });

  test("no oversized or unknown request", async () => {
    await ui.login();
    const big = { token: "x".repeat(6_000) };
    assert.equal((await ui.post("/api/login", big)).status, 400);
    assert.equal((await ui.post("/api/login", "{")).status, 400);
    const plain = { "content-type": "text/plain" };
    assert.equal((await ui.post("/api/login", { token: ui.token }, plain)).status, 400);
    for (const request of ["/api", "/../etc/passwd", "/ui.json", "//evil.test/", "/api/live/x"]) {
      const { status } = await ui.get(request);
      assert.ok(status === 404 || status === 400, `${request} ${status}`);
    }
    const headers = { cookie: "x".repeat(64 * 1024) };
    // The server may have closed the connection before everything was sent.
    const long = await ui.get("/", { headers }).catch(() => ({ status: 431 }));
    assert.equal(long.status, 431);
    assert.equal((await ui.get("/api/pod", { method: "DELETE" })).status, 403);
  });

  test("who has the token although 200 connections say nothing", async () => {
    const silent = Array.from({ length: 200 }, () => {
      const socket = connect(Number(ui.url.port), ui.url.hostname);
      socket.on("error", () => undefined);
      return socket;
    });
    try {
      await until("the excess is closed", () => silent.filter((s) => s.closed).length >= 136);
      assert.equal((await ui.get("/")).status, 200);
      await ui.login();
      assert.equal((await ui.get(`/api/pod?id=${pod.id}`)).status, 200);
      assert.ok(silent.filter((s) => !s.closed).length > 50, "the others are still connected");
    } finally {
      for (const socket of silent) socket.destroy();
    }
  });
});

test("davit ui says on every response what a browser must not do", async () => {
  await ui.login();
  const page = await ui.get("/");
  const policy = String(page.headers["content-security-policy"]);
  for (const part of [
    "default-src 'none'",
    "frame-ancestors 'none'",
    "connect-src 'self'",
    "require-trusted-types-for 'script'",
  ]) {
    assert.ok(policy.includes(part), part);
  }
  assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
  assert.ok(!page.body.includes(ui.token));
  assert.ok(Buffer.byteLength(page.body) < 700_000);
  for (const { headers } of [page, await ui.get("/api/pod?id=x"), await ui.get("/nope")]) {
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["referrer-policy"], "no-referrer");
    assert.equal(headers["cache-control"], "no-store");
    assert.match(String(headers["content-security-policy"]), /^default-src 'none'/);
    assert.equal(headers["access-control-allow-origin"], undefined);
  }
});

describe("davit ui sends", () => {
  before(() => ui.login());

  test("the state of the node, its pods and images", async () => {
    const value = await ui.live("node", (state) => state);
    assert.deepEqual([value.runtime, value.isDavit, value.canWrite], ["davit", true, false]);
    assert.ok(value.conditions.every(({ ok }) => ok));
    assert.ok((value.upSinceMs ?? 0) > Date.now() - 3_600_000 && value.memoryTotal > 0);
    const found = await ui.live("pods", (pods) => pods.find(({ id }) => id === pod.id));
    const { metadata } = pod.config;
    assert.deepEqual([found.name, found.namespace], [metadata?.name, metadata?.namespace]);
    assert.deepEqual([found.ready, found.running, found.all], [true, 1, 1]);
    assert.match(found.ip, /^10\./);
    assert.equal(found.containers[0]?.id, main);
    assert.ok(await ui.live("pods", (pods) => pods.some(({ usage }) => usage.cpu !== undefined)));
    const image = await ui.live("images", ([first]) => first);
    assert.deepEqual([image.names[0], image.layers.length], [busybox, 1]);
    assert.equal(image.usedBy.length, 1);
  });

  test("where a start has spent its time", async () => {
    const start = await ui.live("timeline", ({ starts }) =>
      starts.find(({ podId, operations }) => podId === pod.id && operations.length === 3),
    );
    assert.deepEqual(
      start.operations.map(({ operation, container: of }) => [operation, of]),
      [
        ["run-pod-sandbox", ""],
        ["create-container", "main"],
        ["start-container", "main"],
      ],
    );
    const [run] = start.operations;
    const kinds = new Map(run?.phases.map(({ name, kind }) => [name, kind]));
    assert.equal(kinds.get("network plugin bridge"), "network");
    assert.equal(kinds.get("pin namespaces"), "namespace");
    assert.deepEqual([start.state, start.isWhole], ["done", true]);
  });

  test("a pull, with the download of each layer", async () => {
    const pull = await ui.live("timeline", ({ starts }) =>
      starts.find(({ kind, image }) => kind === "pull" && image === busybox),
    );
    const [whole, layer, ...more] = pull.operations;
    assert.deepEqual([whole?.operation, layer?.operation, more], ["pull-image", "pull-layer", []]);
    assert.match(layer?.container ?? "", /^[0-9a-f]{12} \S+B$/);
    assert.deepEqual(
      layer?.phases.map(({ name }) => name),
      ["download", "unpack"],
    );
  });

  test("why a start has failed, and what is being done", async () => {
    const id = await createIn(pod, container({ command: ["/no-such-program"] }));
    await assert.rejects(node.daemon.client.runtime.startContainer({ containerId: id }));
    const error = await ui.live("timeline", ({ starts }) =>
      starts.flatMap(({ operations }) => operations.flatMap((each) => each.error ?? [])).at(0),
    );
    assert.match(error, /no-such-program/);
    const failure = await ui.live("activity", ({ failures }) => failures[0]);
    assert.deepEqual([failure.operation, failure.podId], ["start-container", pod.id]);
    await node.daemon.client.runtime.removeContainer({ containerId: id });
  });

  test("a pod in detail", async () => {
    const { status, body } = await ui.get(`/api/pod?id=${pod.id}`);
    assert.equal(status, 200);
    const detail = JSON.parse(body) as PodDetail;
    assert.ok(detail.hasHistory);
    assert.equal(detail.operations[0]?.operation, "run-pod-sandbox");
    assert.deepEqual(Object.keys(detail.spec as object).slice(0, 2), ["pod", "main"]);
    assert.equal((await ui.get("/api/pod?id=0123456789")).status, 404);
  });

  test("the log of a container, as it is written", async () => {
    const response = await ui.open(`/api/logs?container=${main}`);
    const lines: LogLineView[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) {
      const texts = chunk.toString().trimEnd().split("\n");
      lines.push(...texts.map((line) => JSON.parse(line) as LogLineView));
      if (lines.length >= 2) break;
    }
    assert.deepEqual(lines.map(({ stream, text: said }) => [stream, said]).sort(), [
      ["stderr", "err"],
      ["stdout", "<b>out</b>"],
    ]);
    const short = script("seq 1 50", { logPath: "short.log" });
    const id = await runIn(pod, short);
    await exited(node.daemon, id);
    const tail = await ui.get(`/api/logs?container=${id}&tail=3`);
    assert.equal(tail.body.trimEnd().split("\n").length, 3);
    assert.equal((await ui.get("/api/logs?container=0123456789")).status, 404);
    await node.daemon.client.runtime.removeContainer({ containerId: id });
  });
});

test("davit ui does not collect what a slow reader of a log has not read", async () => {
  await ui.login();
  // 120 MB, in long lines.
  const loud = script("yes \"$(head -c 15000 /dev/zero | tr '\\0' x)\" | head -n 8000", {
    logPath: "loud.log",
  });
  const id = await runIn(pod, loud);
  await exited(node.daemon, id, 60_000);
  const before = residentMiB(ui.child.pid);
  const log = await ui.open(`/api/logs?container=${id}&tail=10000`);
  const live = await ui.open("/api/live");
  try {
    // Neither is read. Another page is served meanwhile, for some rounds.
    let rounds = 0;
    await ui.live("pods", () => ++rounds > 2);
    const grown = residentMiB(ui.child.pid) - before;
    assert.ok(grown < 80, `${grown} MiB`);
  } finally {
    log.destroy();
    live.destroy();
  }
  await node.daemon.client.runtime.removeContainer({ containerId: id });
});

/** The memory of a process. */
function residentMiB(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s*(\d+)/.exec(status)?.[1]) / 1024;
}

test("davit ui says that the server is gone, and continues with the next one", async () => {
  await ui.login();
  await node.daemon.stop();
  const message = await ui.live("link", (link) => !link.ok && link.message);
  assert.notEqual(message, "");
  await launchDaemon(node.daemon);
  await ui.live("link", ({ ok }) => ok);
  await ui.live("pods", (pods) => pods.some(({ id, running }) => id === pod.id && running === 1));
});

test("davit ui warns about an address that others can reach", async () => {
  await using open = await Ui.start(node.daemon, "--listen", "0.0.0.0:0");
  await until("the warning", () => /warning: "0\.0\.0\.0"/.test(open.errors));
  const davit = new Davit(node.daemon);
  for (const listen of ["nonsense", "127.0.0.1:99999", "example.org:80"]) {
    const { code, err } = await davit.run("ui", "--listen", listen);
    assert.equal(code, 2, listen);
    assert.match(err, /--listen/);
  }
  const { code, err } = await davit.run("ui", "--listen", `127.0.0.1:${ui.url.port}`);
  assert.equal(code, 1);
  assert.match(err, /listen on "127\.0\.0\.1" port \d+.*EADDRINUSE/);
});

test("davit ui ends at Ctrl-C although a page is open", async () => {
  await using ending = await Ui.start(node.daemon);
  await ending.login();
  const response = await ending.open("/api/live");
  response.resume();
  response.on("error", () => undefined);
  const { promise: closed, resolve } = Promise.withResolvers<unknown>();
  response.on("close", resolve);
  ending.child.kill("SIGINT");
  await closed;
  await until("it has ended", () => ending.child.exitCode !== null);
  assert.equal(ending.child.exitCode, 0);
  assert.ok(!ending.errors.includes(ending.token));
});

test("davit ui ends at Ctrl-C although a refused client keeps its connection open", async () => {
  await using ending = await Ui.start(node.daemon);
  const refused = openHandshake(ending, main, { Origin: ending.url.origin });
  refused.on("error", () => undefined);
  try {
    const [answer] = (await once(refused, "data")) as [Buffer];
    assert.match(answer.toString(), / 401 /);
    await once(refused, "end");
    ending.child.kill("SIGINT");
    await until("it has ended", () => ending.child.exitCode !== null);
    assert.equal(ending.child.exitCode, 0);
  } finally {
    refused.destroy();
  }
});
