import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ExportTraceServiceResponseSchema } from "../../gen/opentelemetry/proto/collector/trace/v1/trace_service_pb.ts";
import { makeCertificate } from "../../streaming/certificate.ts";
import { readEndpoint } from "./endpoint.ts";
import { OtlpClient, type Outcome } from "./otlp-client.ts";

const contentType = "application/x-protobuf";
const never = new AbortController().signal;
const secret = "swordfish-0xA11CE";

describe("OtlpClient", () => {
  let server: Server;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  let connections = 0;
  const url = (): string =>
    `http://user:${secret}@127.0.0.1:${(server.address() as AddressInfo).port}`;

  before(async () => {
    server = createServer((request, response) => answer(request, response));
    server.on("connection", () => {
      connections += 1;
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  });
  beforeEach(() => {
    connections = 0;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  async function send(options: { timeoutMs?: number } = {}, signal = never): Promise<Outcome> {
    using client = new OtlpClient(readEndpoint(url(), {}), { contentType, ...options });
    return await client.send(Buffer.from("spans"), signal);
  }

  /** The outcome of an answer with a status, headers and a body. */
  const outcomeOf = (
    status: number,
    body: Uint8Array | string = "",
    headers: Record<string, string> = {},
  ): Promise<Outcome> => {
    answer = (_request, response) => {
      response.writeHead(status, { "content-type": contentType, ...headers }).end(body);
    };
    return send();
  };

  test("sends POST requests to one connection, with credentials and the length", async () => {
    const seen: unknown[] = [];
    answer = (request, response) => {
      const { method, url: path, headers } = request;
      const { authorization, "content-type": type, "content-length": length } = headers;
      seen.push([method, path, authorization, type, length]);
      request.resume().on("end", () => response.end());
    };
    using client = new OtlpClient(readEndpoint(url(), {}), { contentType });
    for (let times = 0; times < 3; times++) {
      assert.deepEqual(await client.send(Buffer.from("spans"), never), { kind: "accepted" });
    }
    const basic = Buffer.from(`user:${secret}`).toString("base64");
    const one = ["POST", "/v1/traces", `Basic ${basic}`, contentType, "5"];
    assert.deepEqual(seen, [one, one, one]);
    assert.equal(connections, 1);
  });

  test("repeats what OTLP allows to repeat, after the time in Retry-After", async () => {
    for (const status of [429, 502, 503, 504]) {
      const reason = `answered HTTP ${status}`;
      assert.deepEqual(await outcomeOf(status), { kind: "retry", reason, afterMs: undefined });
    }
    const inSeconds = await outcomeOf(503, "", { "retry-after": "7" });
    assert.equal(inSeconds.kind === "retry" && inSeconds.afterMs, 7_000);
    const past = await outcomeOf(429, "", { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" });
    assert.equal(past.kind === "retry" && past.afterMs, 0);
    const odd = await outcomeOf(429, "", { "retry-after": "-1; soon" });
    assert.equal(odd.kind === "retry" && odd.afterMs, undefined);
  });

  test("repeats nothing else", async () => {
    for (const status of [301, 400, 404, 413, 500, 501]) {
      const reason = `answered HTTP ${status}`;
      assert.deepEqual(await outcomeOf(status, secret), { kind: "rejected", reason });
    }
    const unauthorized = await outcomeOf(401, secret);
    assert.match(unauthorized.kind === "rejected" ? unauthorized.reason : "", /tracing\.headers$/);
  });

  test("counts what the collector has rejected, and masks what it says", async () => {
    const partialSuccess = { rejectedSpans: 3n, errorMessage: `not for ${secret}` };
    const message = create(ExportTraceServiceResponseSchema, { partialSuccess });
    const partial = { kind: "partial", rejected: 3, reason: "not for ***" };
    assert.deepEqual(
      await outcomeOf(200, toBinary(ExportTraceServiceResponseSchema, message)),
      partial,
    );
    const json = JSON.stringify({
      partialSuccess: { rejectedSpans: "3", errorMessage: `not for ${secret}`, later: 1 },
    });
    const type = { "content-type": "application/json; charset=utf-8" };
    assert.deepEqual(await outcomeOf(200, json, type), partial);
    assert.deepEqual(await outcomeOf(200, "{}", type), { kind: "accepted" });
  });

  test("an answer that is not OTLP means that the endpoint is another server", async () => {
    for (const body of ["<html>welcome</html>", "\u0000\u0001garbage", "x".repeat(1_000_000)]) {
      const outcome = await outcomeOf(200, body, { "content-type": "text/html" });
      const reason = "its answer is not OTLP/HTTP; check tracing.endpoint";
      assert.deepEqual(outcome, { kind: "rejected", reason }, body.slice(0, 20));
    }
  });

  test("a collector that hangs, breaks off or floods ends in time", async () => {
    answer = () => undefined;
    const silent = await send({ timeoutMs: 20 });
    assert.deepEqual(silent, { kind: "retry", reason: "did not answer within 0.02 s" });

    answer = (_request, response) => void response.writeHead(200).write("a");
    assert.equal((await send({ timeoutMs: 20 })).kind, "retry");

    answer = (request) => request.socket.destroy();
    assert.equal((await send()).kind, "retry");

    const stopping = new AbortController();
    answer = () => stopping.abort();
    const stopped = await send({}, stopping.signal);
    assert.deepEqual(stopped, { kind: "retry", reason: "did not answer before davit stopped" });
    assert.equal((await send({}, AbortSignal.abort())).kind, "retry");
  });

  test("https trusts what the system trusts, and nothing else", async () => {
    const { cert, key } = makeCertificate("127.0.0.1", Date.now());
    const secure = createTlsServer({ cert, key }, (request, response) => {
      request.resume().on("end", () => response.end());
    });
    secure.listen(0, "127.0.0.1");
    await once(secure, "listening");
    const { port } = secure.address() as AddressInfo;
    const endpoint = readEndpoint(`https://127.0.0.1:${port}`, {});
    const file = join(mkdtempSync(join(tmpdir(), "davit-otlp-")), "ca.pem");
    const before = process.env["SSL_CERT_FILE"];
    try {
      using stranger = new OtlpClient(endpoint, { contentType });
      assert.equal((await stranger.send(Buffer.from("spans"), never)).kind, "retry");
      writeFileSync(file, cert);
      process.env["SSL_CERT_FILE"] = file;
      using client = new OtlpClient(endpoint, { contentType });
      assert.deepEqual(await client.send(Buffer.from("spans"), never), { kind: "accepted" });
    } finally {
      if (before === undefined) delete process.env["SSL_CERT_FILE"];
      else process.env["SSL_CERT_FILE"] = before;
      rmSync(dirname(file), { recursive: true });
      secure.closeAllConnections();
      secure.close();
    }
  });

  test("a server that does not speak HTTP, or none, is an outcome too", async () => {
    const odd = createTcpServer(
      (socket) => void socket.resume().end(`${secret} is not HTTP\r\n\r\n`),
    );
    odd.listen(0, "127.0.0.1");
    await once(odd, "listening");
    const { port } = odd.address() as AddressInfo;
    using client = new OtlpClient(readEndpoint(`http://u:${secret}@127.0.0.1:${port}`, {}), {
      contentType,
    });
    const garbage = await client.send(Buffer.from("spans"), never);
    assert.equal(garbage.kind, "retry");
    assert.ok(!JSON.stringify(garbage).includes(secret));
    odd.close();
    await once(odd, "close");
    const refused = await client.send(Buffer.from("spans"), never);
    assert.match(refused.kind === "retry" ? refused.reason : "", /ECONNREFUSED/);
  });
});
