import assert from "node:assert/strict";
import { createSocket, type Socket } from "node:dgram";
import { createServer } from "node:net";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";

import { run } from "../process/index.ts";
import { openFds } from "../testing/leaks.ts";
import { deleteUdpFlows } from "./index.ts";

// The kernel tracks connections where a rule needs it.
async function trackBy(verb: "-A" | "-D"): Promise<void> {
  for (const file of ["iptables", "ip6tables"]) {
    const rule = ["-m", "conntrack", "--ctstate", "INVALID"];
    const args = ["--wait", verb, "OUTPUT", ...rule];
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
    const { code, stderr } = await run({ file, args, env, timeoutMs: 10_000 });
    assert.equal(code, 0, stderr.toString());
  }
}

const send = (socket: Socket, port: number, host: string): Promise<void> =>
  new Promise((resolve, reject) => {
    socket.send("x", port, host, (error) => (error ? reject(error) : resolve()));
  });

describe("deleteUdpFlows()", () => {
  before(() => trackBy("-A"));
  after(() => trackBy("-D"));

  test("deletes the flows to these ports, of one family", async () => {
    await using udp = createSocket("udp4");
    await using udp6 = createSocket("udp6");
    for (const port of [5001, 5002, 5003]) await send(udp, port, "127.0.0.1");
    await send(udp6, 5001, "::1");
    assert.equal(await deleteUdpFlows(4, new Set([5001, 5003, 5004])), 2);
    assert.equal(await deleteUdpFlows(4, new Set([5001, 5003])), 0);
    assert.equal(await deleteUdpFlows(6, new Set([5001])), 1);
    // The port that a flow comes from does not count.
    assert.equal(await deleteUdpFlows(4, new Set([udp.address().port])), 0);
    assert.equal(await deleteUdpFlows(4, new Set([5002])), 1);
  });

  test("leaves flows of TCP", async () => {
    const server = createServer((socket) => socket.end());
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    assert.equal(await deleteUdpFlows(4, new Set([port])), 0);
    server.close();
  });

  test("finds them in a table of many parts, and leaves no descriptor", async () => {
    await using udp = createSocket("udp4");
    await send(udp, 5102, "127.0.0.1");
    const fds = openFds().size;
    const count = 3_000;
    for (let at = 0; at < count; at++) await send(udp, 5100, `127.${at >> 8}.${at & 255}.1`);
    for (let at = 0; at < count; at++) await send(udp, 5101, `127.${at >> 8}.${at & 255}.1`);
    assert.equal(await deleteUdpFlows(4, new Set([5100])), count);
    assert.equal(await deleteUdpFlows(4, new Set([5100])), 0);
    assert.equal(await deleteUdpFlows(4, new Set([5101])), count);
    assert.equal(openFds().size, fds);
  });
});
