/**
 * Answers TCP connections and UDP packets on all addresses of both families: `egress-server.ts TEXT PORT...`.
 * It prints `ready` when all sockets are open.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";

const [text = "", ...ports] = process.argv.slice(2);
for (const port of ports.map(Number)) {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end(text);
  });
  server.listen(port, "::");
  await once(server, "listening");
  for (const type of ["udp4", "udp6"] as const) {
    const socket = createSocket({ type, ipv6Only: type === "udp6" });
    socket.on("message", (_bytes, from) => {
      socket.send(text, from.port, from.address);
    });
    socket.bind(port);
    await once(socket, "listening");
  }
}
process.stdout.write("ready\n");
