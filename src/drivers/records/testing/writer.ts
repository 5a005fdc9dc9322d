// A process that writes records, for tests that kill it or watch its system calls:
// `node writer.ts PATH MODE COUNT`. Modes: `ack` writes forever and prints "id generation" after
// each write that returned; `churn` writes COUNT records and closes; `leave` writes COUNT records
// and ends without closing.
import { writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { silentLogger } from "../../../base/logger.ts";
import { Records } from "../index.ts";
import { bareSandbox, fullSandbox, until } from "./sample.ts";

const [path = "", mode = "", count = "0"] = process.argv.slice(2);
const records = Records.open(path, {
  logger: silentLogger,
  checkpoint: mode === "leave" ? {} : { walBytes: 100_000, quietMs: 20 },
});

switch (mode) {
  case "ack":
    await acknowledge();
    break;
  case "churn":
    for (let n = 0; n < Number(count); n++) {
      records.sandboxes.put(fullSandbox(`sandbox-${n % 50}`));
      if (n % 7 === 0) records.sandboxes.delete(`sandbox-${(n + 5) % 50}`);
      if (n % 10 === 0) await turn();
      if (n % 100 === 99) await until("the log is cut", () => records.walBytes() === 0);
    }
    await records[Symbol.asyncDispose]();
    break;
  case "leave":
    for (let n = 0; n < Number(count); n++) records.sandboxes.put(fullSandbox(`sandbox-${n}`));
    break;
  default:
    throw new Error(`unknown mode "${mode}"`);
}

async function acknowledge(): Promise<void> {
  // The next generation of each id is written over the one before: an update may not get lost.
  const first = Number(count);
  for (let n = 0; ; n++) {
    const id = `sandbox-${n % 40}`;
    const generation = first + n;
    records.sandboxes.put({ ...bareSandbox(id), bootId: String(generation) });
    writeSync(1, `${id} ${generation}\n`);
    if (n % 3 === 0) await turn();
  }
}
