/**
 * A program that tries what it may not do: `program KIND`, with KIND as in `startOwnProgram`. It enters its limits,
 * waits for a line of JSON on stdin, and answers with the result of each attempt.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import process from "node:process";

import { errnoCode } from "../../base/system-error.ts";
import { beginWriteOut, preparePipe } from "../file/index.ts";
import {
  type Confinement,
  enterConfinement,
  enterNextRoot,
  sealUnpacker,
} from "../process/index.ts";

/** What to try. */
export interface Attempts {
  /** A socket that listens. */
  readonly socket: string;
  /** A process of the same user that is not this one. */
  readonly pid: number;
}

preparePipe(0, 65_536);
const kind = process.argv[2] as Confinement;
// What comes with Node.js is loaded at its first use: later it is not found.
spawnSync("/bin/true");
if (kind === "unpacker") {
  sealUnpacker();
  enterNextRoot();
} else {
  enterConfinement(kind);
}
writeSync(1, "ready\n");
const { socket, pid } = JSON.parse(readFileSync(0, "utf8")) as Attempts;

const results: Record<string, string> = {};
function attempt(name: string, act: () => unknown): void {
  try {
    act();
    results[name] = "done";
  } catch (error) {
    results[name] = errnoCode(error) ?? String(error);
  }
}

attempt("read the root", () => readdirSync("/"));
attempt("read a file of the node", () => readFileSync("/etc/passwd"));
attempt("read a file above", () => readFileSync("../../../../../../../../etc/passwd"));
attempt("write a file", () => writeFileSync("/written", "x"));
attempt("make a directory", () => mkdirSync("/made"));
attempt("begin to write a file to the disk", () => {
  if (!beginWriteOut(openSync("/written", "r"), 0, 1)) throw new Error("refused");
});
attempt("open another process", () => closeSync(openSync(`/proc/${pid}/mem`, "r+")));
attempt("send a signal", () => process.kill(pid, 0));
attempt("become root", () => process.setuid?.(0));
attempt("start a program", () => {
  const { error } = spawnSync("/proc/self/exe", ["-e", "0"]);
  if (error !== undefined) throw error;
});
const asked = ["connect a socket", "connect an address", "listen"] as const;
let left: number = asked.length;
function answered(name: string, how: string): void {
  results[name] = how;
  if (--left === 0) writeSync(1, `${JSON.stringify(results)}\n`);
}
const clients = [connect(socket), connect(1, "127.0.0.1")];
for (const [at, client] of clients.entries()) {
  const name = asked[at] ?? "";
  client.on("connect", () => answered(name, "done"));
  client.on("error", (error) => answered(name, errnoCode(error) ?? String(error)));
}
createServer()
  .on("error", (error) => answered("listen", errnoCode(error) ?? String(error)))
  .listen(0, "127.0.0.1", () => answered("listen", "done"));
