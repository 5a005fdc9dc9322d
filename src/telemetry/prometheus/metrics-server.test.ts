import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { MetricsServer, type MetricsServerOptions } from "./metrics-server.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-metrics-"));
after(() => {
  rmSync(directory, { recursive: true });
});

let servers = 0;

/** A server on a unix socket. */
async function open(options: Partial<MetricsServerOptions> = {}) {
  const path = join(directory, `${++servers}.sock`);
  const server = await MetricsServer.listen(
    { path, mode: 0o660 },
    { text: () => Promise.resolve("davit_a 1\n"), log: silentLogger, ...options },
  );
  const ask = async (): Promise<{ readonly status: number; readonly body: string }> => {
    const asked = request({ socketPath: path, path: "/metrics", agent: false });
    asked.end();
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    return { status: response.statusCode ?? 0, body: await text(response) };
  };
  return { path, ask, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function connected(path: string, sent: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, "connect");
  socket.write(sent);
  return socket;
}

/** Unlike once(), it does not reject after a reset. */
function closed(socket: Socket): Promise<unknown> {
  socket.on("error", () => undefined);
  return new Promise((resolve) => socket.once("close", resolve));
}

describe("MetricsServer", () => {
  test("makes one text for requests that arrive close together", async () => {
    let made = 0;
    const counted = (): Promise<string> => Promise.resolve(`davit_a ${++made}\n`);
    await using server = await open({ text: counted, textAgeMs: 600_000 });
    for (const answer of await Promise.all([server.ask(), server.ask(), server.ask()])) {
      assert.deepEqual(answer, { status: 200, body: "davit_a 1\n" });
    }
    await using fresh = await open({ text: counted, textAgeMs: -1 });
    assert.deepEqual(
      [(await fresh.ask()).body, (await fresh.ask()).body],
      ["davit_a 2\n", "davit_a 3\n"],
    );
  });

  test("answers 500 if the text cannot be made, and logs why", async () => {
    const logged: unknown[] = [];
    const log = { ...silentLogger, error: (message: string) => logged.push(message) };
    await using server = await open({ text: () => Promise.reject(new Error("no")), log });
    const { status, body } = await server.ask();
    assert.deepEqual([status, body], [500, "see the log of davit\n"]);
    assert.deepEqual(logged, ["failed to make the text of the metrics"]);
  });

  test("closes connections without a request, and with one that is not complete in time", async () => {
    await using server = await open({ idleTimeoutMs: 60, requestTimeoutMs: 40 });
    const begun = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
    for (const sent of ["", begun, `${begun}\r\n`, `${begun}Content-Length: 5\r\n\r\nab`]) {
      const socket = await connected(server.path, sent);
      socket.resume();
      await closed(socket);
    }
  });

  test("closes its connections when it is closed, and removes its socket", async () => {
    const server = await open();
    const socket = await connected(server.path, "");
    const gone = closed(socket);
    await server[Symbol.asyncDispose]();
    await gone;
    await assert.rejects(connected(server.path, ""), { code: "ENOENT" });
  });
});
