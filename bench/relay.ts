/**
 * Makes a port of the bench's loopback reachable on that of the network namespace outside, where rivals pull images:
 * `node relay.ts PORT SOCKET` listens there and connects to a unix socket, behind which the bench connects to the port.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, connect, type NetConnectOpts, type Server, type Socket } from "node:net";
import path from "node:path";
import { outside } from "./rivals.ts";

/** Relays this port until it is disposed of. The unix socket is made in `directory`. */
export async function relayOutside(port: number, directory: string): Promise<AsyncDisposable> {
  const socket = path.join(directory, `relay-${port}.sock`);
  const server = relay({ host: "127.0.0.1", port });
  server.listen(socket);
  await once(server, "listening");
  const network = `--net=${path.join(outside(), "ns/net")}`;
  const command = [network, process.execPath, import.meta.filename, String(port), socket];
  const child = spawn("nsenter", command, { stdio: ["ignore", "pipe", "inherit"] });
  const [ready] = (await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(() => []),
  ])) as unknown[];
  if (ready === undefined) throw new Error(`relay port ${port} to the network outside: it ended`);
  return {
    async [Symbol.asyncDispose]() {
      child.kill();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Connects all that connect to it with the target. */
function relay(target: NetConnectOpts): Server {
  return createServer((from: Socket) => {
    const to = connect(target);
    from.pipe(to).pipe(from);
    for (const [socket, other] of [
      [from, to],
      [to, from],
    ] as const) {
      socket.once("error", () => other.destroy());
      socket.once("close", () => other.destroy());
    }
  });
}

if (import.meta.main) {
  const [port, socket = ""] = process.argv.slice(2);
  const server = relay({ path: socket });
  server.listen(Number(port), "127.0.0.1", () => process.stdout.write("ready\n"));
}
