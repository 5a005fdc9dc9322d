import type { Duplex } from "node:stream";
import { MuxStream } from "../mux/mux-stream.ts";
import { WebSocketConnection } from "./connection.ts";

/** A stream of bytes in binary messages, by which Kubernetes tunnels SPDY (KEP-4006). */
export function openTunnel(transport: Duplex, role: "client" | "server"): Duplex {
  const connection: WebSocketConnection = new WebSocketConnection({
    transport,
    role,
    onMessage: ({ piece }) => {
      connection.addUnread(piece.length);
      tunnel.receive(piece);
    },
  });
  const tunnel = new MuxStream({
    send: (chunk, sent) => connection.send("binary", [chunk], sent),
    sendEnd: (sent) => {
      connection.close();
      sent();
    },
    consumed: (bytes) => connection.removeUnread(bytes),
    closed: (isComplete) => {
      if (isComplete) connection.close();
      else connection.destroy();
    },
  });
  void connection.closed.then((reason) => {
    if (reason === undefined) tunnel.receiveEnd();
    else tunnel.connectionLost(reason);
  });
  return tunnel;
}
