import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import type { Davit } from "./api/davit.ts";
import type { StartOptions } from "./api/options.ts";
import { connect } from "./davit.ts";
import { DavitError } from "./errors.ts";
import { aborted } from "./explain.ts";

const what = "start a davit server";
const stderrLines = 20;

/** A server that belongs to this process. */
interface OwnServer {
  readonly endpoint: string;
  /** Ends it, and resolves when it has removed everything. */
  readonly end: () => Promise<void>;
}

/**
 * Starts a server that ends with this process: it reads a pipe of which only this process has the other end
 * (davit serve-attached).
 */
export async function start(options: StartOptions = {}): Promise<Davit> {
  const { signal, network = "bridge" } = options;
  if (signal?.aborted === true) throw aborted(what, signal);
  const server = await startServer(options);
  try {
    return await connect(
      { endpoint: server.endpoint, ...(signal && { signal }) },
      {
        onClosed: server.end,
        ...(network === "none" && { network }),
      },
    );
  } catch (error) {
    await server.end();
    throw error;
  }
}

async function startServer(options: StartOptions): Promise<OwnServer> {
  const { network, root, config, onLog, signal } = options;
  const program = await findProgram(options.program);
  // In a session of its own: Ctrl-C is for the program, which then ends its server.
  const child = spawn(program, ["serve-attached"], { stdio: "pipe", detached: true });
  const exited = exitOf(child);
  child.stdin.on("error", () => undefined);
  child.stdin.write(`${JSON.stringify({ network, root, config })}\n`);
  const last: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    last.push(line);
    if (last.length > stderrLines) last.shift();
    onLog?.(line);
  });
  const end = async (): Promise<void> => {
    child.ref();
    child.stdin.end();
    const code = await exited;
    if (code === 0) return;
    throw new DavitError("failed", `end a davit server: ${reasonOf(last, code)}`);
  };
  const onAbort = (): void => void child.stdin.end();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const endpoint = await Promise.race([firstAddress(child), exited.then(() => undefined)]);
    if (signal?.aborted === true) throw aborted(what, signal);
    if (endpoint === undefined) {
      const code = await exited;
      throw new DavitError("failed", `${what} with "${program}": ${reasonOf(last, code)}`);
    }
    unref(child);
    return { endpoint, end };
  } catch (error) {
    child.stdin.end();
    await exited;
    throw error;
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

async function findProgram(given: string | undefined): Promise<string> {
  const chosen = given ?? (process.env["DAVIT_PROGRAM"] || undefined);
  if (chosen !== undefined) {
    if (await isExecutable(chosen)) return chosen;
    throw new DavitError("not-found", `${what}: there is no program "${chosen}"`);
  }
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, "davit");
    if (directory !== "" && (await isExecutable(path))) return path;
  }
  throw new DavitError("not-found", `${what}: there is no program davit on PATH`, {
    hint: "install davit, or name the program by the option program or DAVIT_PROGRAM",
  });
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Resolves when the process has ended. Never rejects. */
function exitOf(child: ChildProcess): Promise<number | undefined> {
  return new Promise((resolve) => {
    child.once("error", () => resolve(undefined));
    child.once("close", (code) => resolve(code ?? undefined));
  });
}

/** The address in the first line of its output. Rests if there is none: then the process ends. */
function firstAddress(child: ChildProcess): Promise<string> {
  const { stdout } = child;
  if (stdout === null) throw new DavitError("internal", `${what}: no output`);
  return new Promise((resolve) => {
    createInterface({ input: stdout }).once("line", (line) => {
      try {
        resolve((JSON.parse(line) as { readonly endpoint: string }).endpoint);
      } catch {
        // Another program: its end is reported.
        child.stdin?.end();
      }
    });
  });
}

/** The server alone does not keep this process running. Its pipes are sockets in Node.js. */
function unref(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    if (stream !== null && "unref" in stream) (stream as unknown as { unref(): void }).unref();
  }
}

function reasonOf(lines: readonly string[], code: number | undefined): string {
  const text = lines.map((line) => line.replace(/^davit: /, "")).join("\n");
  const how = code === undefined ? "it was killed, or could not be started" : `exit code ${code}`;
  return text === "" ? how : text;
}
