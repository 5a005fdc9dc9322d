/** The endpoint of the metrics: TCP and unix socket, clients that misbehave, Prometheus itself. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { TestDaemon } from "../support/daemon.ts";
import { ask, prometheusProgram, samplesOf } from "../support/prometheus.ts";
import { freePort } from "../support/registry.ts";
import {
  bare,
  endDaemon,
  launchDaemon,
  pod,
  removePod,
  runPod,
  startDaemon,
  until,
} from "../support/suites/pods.ts";

const gid = 4242;

describe("the metrics endpoint over TCP", () => {
  let daemon: TestDaemon;
  let endpoint: { readonly host: string; readonly port: number };
  const sockets = new Set<Socket>();

  before(async () => {
    endpoint = { host: "127.0.0.1", port: await freePort() };
    daemon = await startDaemon({ config: { metrics: { listen: `127.0.0.1:${endpoint.port}` } } });
  });
  after(async () => {
    for (const socket of sockets) socket.destroy();
    await endDaemon(daemon);
  });

  /** A connection that sends a text and then nothing. Its errors are ignored. */
  async function open(text = ""): Promise<Socket> {
    const socket = connect(endpoint);
    sockets.add(socket);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    socket.write(text);
    return socket;
  }

  /** All that the daemon sends until it closes the connection. */
  async function answerTo(text: string | Buffer): Promise<string> {
    const socket = await open();
    let seen = "";
    socket.on("data", (chunk: Buffer) => (seen += String(chunk)));
    // Not once(), which rejects after a reset.
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(text);
    await closed;
    return seen;
  }

  test("serves the text format 0.0.4, compressed if that is asked for", async () => {
    const plain = await ask(endpoint, "/metrics?collect=all");
    assert.equal(plain.status, 200);
    assert.equal(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert.equal(plain.headers["content-encoding"], undefined);
    assert.match(plain.body.toString(), /^# TYPE davit_build_info gauge\ndavit_build_info\{/m);

    const headers = { "accept-encoding": "br, gzip" };
    const zipped = await ask(endpoint, "/metrics", { headers });
    assert.equal(zipped.headers["content-encoding"], "gzip");
    assert.ok(zipped.body.length < plain.body.length / 3);
    assert.ok(samplesOf(gunzipSync(zipped.body).toString()).has("davit_rpc_in_flight"));

    const refused = { "accept-encoding": "gzip;q=0" };
    const again = await ask(endpoint, "/metrics", { headers: refused });
    assert.equal(again.headers["content-encoding"], undefined);
    const head = await ask(endpoint, "/metrics", { method: "HEAD" });
    assert.deepEqual([head.status, head.body.length], [200, 0]);
  });

  test("answers 404 and 405 to everything else", async () => {
    for (const target of ["/", "/metrics/", "/debug/pprof", "/metric", "*"]) {
      assert.equal((await ask(endpoint, target)).status, 404, target);
    }
    for (const method of ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"]) {
      const { status, headers } = await ask(endpoint, "/metrics", { method });
      assert.deepEqual([status, headers["allow"]], [405, "GET, HEAD"], method);
    }
  });

  test("answers 403 to a page of a browser, and the metrics to a person's browser", async () => {
    for (const headers of [
      { origin: "http://rebound.example:9090" },
      { "sec-fetch-site": "same-origin" },
      { "sec-fetch-site": "cross-site" },
    ]) {
      assert.equal((await ask(endpoint, "/metrics", { headers })).status, 403);
    }
    const headers = { "sec-fetch-site": "none" };
    assert.equal((await ask(endpoint, "/metrics", { headers })).status, 200);
  });

  test("rejects garbage, large headers and pipelined requests, and serves others", async () => {
    assert.match(await answerTo("\x16\x03\x01\x02\x00\x01\x00"), /^HTTP\/1\.1 400 /);
    assert.match(
      await answerTo(`GET /metrics HTTP/9.9\r\n${"\0".repeat(100)}`),
      /^HTTP\/1\.1 400 /,
    );
    const large = `GET /metrics HTTP/1.1\r\nHost: x\r\nX: ${"x".repeat(9000)}\r\n\r\n`;
    assert.match(await answerTo(large), /^HTTP\/1\.1 431 /);
    assert.equal(
      await answerTo("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
      "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    );
    const request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    const answers = (await answerTo(request.repeat(1000))).split("HTTP/1.1 200").length - 1;
    assert.ok(answers <= 1, `${answers} pipelined requests are served`);
    assert.equal((await ask(endpoint)).status, 200);
  });

  test("serves a client however many silent and slow ones there are", async () => {
    const begun = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
    for (let at = 0; at < 150; at++) {
      const socket = await open(["", begun, `${begun}\r\n`][at % 3]);
      socket.pause();
    }
    assert.equal((await ask(endpoint)).status, 200);
    await until("the oldest connections are closed", () => {
      for (const socket of sockets) socket.resume();
      return [...sockets].filter(({ destroyed }) => destroyed).length >= 80;
    });
    await daemon.waitForLine(/closed the oldest of more than 64 connections to the metrics/);
    const id = await runPod(daemon, bare());
    await removePod(daemon, id);
    assert.equal((await ask(endpoint)).status, 200);
  });

  test("passes promtool's check of metrics", async () => {
    const id = await runPod(daemon, pod());
    await removePod(daemon, id);
    const input = (await ask(endpoint)).body;
    const { status, stdout, stderr } = spawnSync(
      prometheusProgram("promtool"),
      ["check", "metrics"],
      {
        input,
        encoding: "utf8",
      },
    );
    assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
  });

  test("is scraped by Prometheus", async () => {
    const directory = mkdtempSync(path.join(tmpdir(), "davit-prometheus-"));
    const port = await freePort();
    const config = path.join(directory, "prometheus.yml");
    const job = {
      job_name: "davit",
      static_configs: [{ targets: [`127.0.0.1:${endpoint.port}`] }],
    };
    const settings = { global: { scrape_interval: "200ms" }, scrape_configs: [job] };
    // JSON is YAML.
    writeFileSync(config, JSON.stringify(settings));
    const args = [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(directory, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ];
    const child = spawn(prometheusProgram("prometheus"), args, { stdio: "ignore" });
    const ended = once(child, "exit");
    try {
      const query = async (text: string): Promise<readonly (readonly [string, string])[]> => {
        const target = `/api/v1/query?query=${encodeURIComponent(text)}`;
        const answer = await ask({ host: "127.0.0.1", port }, target).catch(() => undefined);
        if (answer?.status !== 200) return [];
        const { data } = JSON.parse(answer.body.toString()) as Answer;
        return data.result.map(({ metric, value }) => [metric["method"] ?? "", value[1]]);
      };
      await until("the target is up", async () => (await query("up"))[0]?.[1] === "1", 30_000);
      const id = await runPod(daemon, bare());
      const name = 'davit_rpc_calls_total{code="OK",method="RunPodSandbox"} > 0';
      await until("the call is counted", async () => (await query(name)).length === 1, 30_000);
      const quantile =
        "histogram_quantile(0.9, sum by (le, method) (davit_rpc_duration_seconds_bucket))";
      const methods = (await query(quantile)).map(([method]) => method);
      assert.ok(methods.includes("RunPodSandbox"), methods.join(" "));
      await removePod(daemon, id);
    } finally {
      child.kill("SIGKILL");
      await ended;
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

interface Answer {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value: readonly [number, string];
    }[];
  };
}

describe("the metrics endpoint on a unix socket", () => {
  test("has mode 0660 and the group of the CRI socket, and replaces a stale socket", async () => {
    const daemon = TestDaemon.prepare();
    const socketPath = path.join(daemon.paths.directory, "metrics", "metrics.sock");
    daemon.changeConfig({ server: { group: gid }, metrics: { listen: `unix://${socketPath}` } });
    try {
      for (let run = 0; run < 2; run++) {
        await launchDaemon(daemon);
        const { mode, gid: group } = statSync(socketPath);
        assert.deepEqual([mode & 0o777, group], [0o660, gid]);
        const { status, body } = await ask({ socketPath });
        assert.equal(status, 200);
        assert.ok(samplesOf(body.toString()).has('davit_sandboxes{state="ready"}'));
        // It leaves its socket behind.
        if (run === 0) await daemon.kill9();
      }
      await daemon.stop();
      assert.equal(statSync(socketPath, { throwIfNoEntry: false }), undefined);
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
  });
});

describe("a metrics endpoint that cannot be opened", () => {
  /** The last lines of a daemon that does not start. */
  async function failure(listen: (daemon: TestDaemon) => string): Promise<string> {
    const daemon = TestDaemon.prepare();
    try {
      daemon.changeConfig({ metrics: { listen: listen(daemon) } });
      daemon.launch();
      const { code } = await daemon.exited;
      assert.notEqual(code, 0);
      return daemon.tail();
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
  }

  test("ends the start with an error that names the setting", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    try {
      const { port } = other.address() as { readonly port: number };
      const inUse = await failure(() => `127.0.0.1:${port}`);
      assert.match(inUse, /serve metrics\.listen = \\?"127\.0\.0\.1:\d+\\?": .*EADDRINUSE/);
      assert.match(inUse, /set another one/);
    } finally {
      other.close();
    }
    const foreign = await failure(() => "192.0.2.1:9090");
    assert.match(foreign, /serve metrics\.listen = \\?"192\.0\.2\.1:9090\\?": .*EADDRNOTAVAIL/);
    const notASocket = await failure(({ paths }) => paths.config);
    assert.match(notASocket, /serve metrics\.listen = .*this is not a socket/);
  });

  test("is rejected before the start if the value is wrong", async () => {
    assert.match(await failure(() => "9090"), /metrics\.listen.* must be .*HOST:PORT/);
    const same = await failure(({ paths }) => paths.socket);
    assert.match(same, /metrics\.listen.*a different socket from server\.listen/);
  });
});
