/**
 * A client that holds leases, as a program that a test kills: `lease-holder.ts SOCKET COUNT GRACE-SECONDS [ID]`.
 * It prints each lease as a line of JSON, and the error with which a call ends.
 */
import { CriClient } from "../../src/client/cri-client.ts";

const [socket = "", count = "1", grace = "0", id = ""] = process.argv.slice(2);
using client = new CriClient(socket);

async function hold(): Promise<void> {
  const request = { id, graceSeconds: Number(grace) };
  for await (const { id: held, pods } of client.leases.hold(request)) {
    process.stdout.write(`${JSON.stringify({ id: held, pods })}\n`);
  }
}

const holds = Array.from({ length: Number(count) }, () =>
  hold().catch((error: unknown) => {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }),
);
await Promise.all(holds);
