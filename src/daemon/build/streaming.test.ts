import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { test, type TestContext } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import { systemClock } from "../../base/time.ts";
import { parseConfig } from "../../config/load.ts";
import { LiveConfig } from "../process/live-config.ts";
import { openStreaming, type Streaming } from "./streaming.ts";

function open(settings: string): Promise<Streaming> {
  const live = new LiveConfig(parseConfig(`[streaming]\n${settings}\n`, "d.toml"));
  // Nobody connects.
  const deps = { containers: { clock: systemClock, log: silentLogger }, sandboxes: {} };
  return openStreaming(live, deps as Parameters<typeof openStreaming>[1]);
}

/** The port of a server of another process. */
async function portInUse(t: TestContext): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  t.after(async () => {
    server.close();
    await once(server, "close");
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

test("openStreaming() says at once what is wrong with the port or the address", async (t) => {
  const port = await portInUse(t);
  await assert.rejects(open(`port = ${port}`), /listen for streams on .*EADDRINUSE/);
  // An address of documentation (RFC 5737), which no machine has.
  await assert.rejects(open('address = "192.0.2.1"'), /listen for streams on .*EADDRNOTAVAIL/);
});

test("openStreaming() opens one server with the first address, by default", async () => {
  const servers = (): number =>
    process.getActiveResourcesInfo().filter((name) => name === "TCPServerWrap").length;
  const before = servers();
  await using streaming = await open("");
  assert.equal(servers(), before);
  assert.deepEqual(streaming.sessions, { exec: 0, attach: 0, portforward: 0 });
  const urls = await Promise.all([streaming.portForward("a", []), streaming.portForward("b", [])]);
  const [first, second] = urls.map((url) => new URL(url));
  assert.equal(first?.hostname, "127.0.0.1");
  assert.equal(first.port, second?.port);
  assert.equal(servers(), before + 1);
});
