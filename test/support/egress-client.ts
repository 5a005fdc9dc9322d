/**
 * Asks servers one after the other: `egress-client.ts tcp|udp ADDRESS PORT ...`, three words each. It prints a line
 * for each: the answer, the code of the error, or `silence` after a second.
 */
import { createSocket } from "node:dgram";
import { connect } from "node:net";

const silenceMs = 1_000;

type Settle = (line: string) => void;

function tcp(address: string, port: number, settle: Settle): () => void {
  const socket = connect(port, address);
  socket.on("data", (bytes) => settle(bytes.toString()));
  socket.on("error", (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  return () => socket.destroy();
}

function udp(address: string, port: number, settle: Settle): () => void {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (bytes) => settle(bytes.toString()));
  socket.on("error", (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
  // Connected, so that rejections of the network are errors of the socket.
  socket.connect(port, address, (error?: Error) => {
    if (error === undefined) socket.send("question");
  });
  return () => socket.close();
}

const words = process.argv.slice(2);
for (let at = 0; at + 2 < words.length; at += 3) {
  const [protocol, address = "", port] = words.slice(at, at + 3);
  const { promise, resolve } = Promise.withResolvers<string>();
  const end = (protocol === "udp" ? udp : tcp)(address, Number(port), resolve);
  const timer = setTimeout(() => resolve("silence"), silenceMs);
  process.stdout.write(`${await promise}\n`);
  clearTimeout(timer);
  end();
}
