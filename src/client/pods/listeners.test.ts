import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import process from "node:process";
import { test } from "node:test";
import { listeners, ownerOf, parseSockets } from "./listeners.ts";

test("parseSockets() returns listening sockets with their addresses", () => {
  // The lines of a real machine, without the contents of the queue column.
  const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F8D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F8D 0100007F:A123 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 20 4 30 10 -1
`;
  assert.deepEqual(parseSockets(tcp, "tcp"), [
    { protocol: "tcp", ip: "127.0.0.1", port: 8077, inode: "4711" },
  ]);
  const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0000000000000000 100 0 0 10 0
   1: B80D0120000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0000000000000000 100 0 0 10 0
`;
  assert.deepEqual(
    parseSockets(tcp6, "tcp").map(({ ip, port }) => [ip, port]),
    [
      ["::", 80],
      ["2001:db8::1", 81],
      ["127.0.0.1", 82],
    ],
  );
  assert.deepEqual(parseSockets("", "udp"), []);
});

test("listeners() and ownerOf() find a socket of this process", async (t) => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const datagrams = createSocket("udp4").bind(0);
  await once(datagrams, "listening");
  t.after(() => {
    server.close();
    datagrams.close();
  });
  for (const [protocol, ip, port] of [
    ["tcp", "127.0.0.1", (server.address() as AddressInfo).port],
    ["udp", "0.0.0.0", datagrams.address().port],
  ] as const) {
    const own = listeners().find((each) => each.protocol === protocol && each.port === port);
    assert.equal(own?.ip, ip);
    assert.equal(ownerOf(own.inode)?.pid, process.pid);
  }
  assert.equal(ownerOf("0"), undefined);
});
