/** Connections to the CRI socket that are silent, or make no call after the preface: others are served meanwhile. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { CriClient } from "../../src/client/cri-client.ts";
import { bare, endDaemon, removePod, runPod, startDaemon, until } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { patient } from "../support/patience.ts";
import { SilentPeers } from "./silent-peers.ts";

const silence = Buffer.alloc(0);
const emptySettings = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** The begin of HTTP/2 (RFC 9113, 3.4). */
const greeting = Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), emptySettings]);

let daemon: TestDaemon;
before(async () => {
  daemon = await startDaemon();
});
after(async () => {
  await endDaemon(daemon);
});

for (const [what, count, first] of [
  ["say nothing", 3000, silence],
  ["say half a greeting", 3000, greeting.subarray(0, 11)],
  ["greet and make no call", 1500, greeting],
] as const) {
  test(`new clients are served while ${count} peers ${what}`, {
    timeout: patient(60_000),
  }, async () => {
    const { socket } = daemon.paths;
    const idle = connectHttp2("http://localhost", { createConnection: () => connect(socket) });
    await version(idle);
    await using _ = await SilentPeers.connect({ path: socket }, count, first);
    for (let round = 0; round < 5; round++) {
      await until("a new client is served", () => isServed(socket), 5_000);
    }
    await removePod(daemon, await runPod(daemon, bare()));
    // It was opened before all others and is idle. It stays open, because it has made a call.
    await version(idle);
    idle.destroy();
  });
}

/** Whether a client that has no connection yet is served. One of kubelet's tries again, too. */
async function isServed(socket: string): Promise<boolean> {
  const client = new CriClient(`unix://${socket}`);
  try {
    await client.runtime.version({});
    return true;
  } catch {
    return false;
  } finally {
    client.close();
  }
}

/** Asks for the version on this very connection. */
async function version(session: ClientHttp2Session): Promise<void> {
  const call = session.request({
    ":method": "POST",
    ":path": "/runtime.v1.RuntimeService/Version",
    "content-type": "application/grpc",
  });
  call.resume();
  call.end(Buffer.alloc(5));
  const [trailers] = (await once(call, "trailers")) as [Record<string, unknown>];
  assert.equal(trailers["grpc-status"], "0");
}
