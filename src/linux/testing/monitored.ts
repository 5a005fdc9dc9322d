import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Readable } from "node:stream";

import { type Child, spawnChild } from "../process/child.ts";
import { monitorPath } from "../process/programs.ts";
import { connectPackets } from "../stream/sockets.ts";
import type { DescriptorStream } from "../stream/descriptor-stream.ts";
import { until } from "./leaks.ts";

/**
 * What the fake OCI runtime does: it leaves a process that runs a script of sh, as soon as the runtime has ended. Before,
 * the shell would reap it.
 */
const runtime = `#!/bin/sh
exec 3<&0
export runtime=$$
sh -c 'while kill -0 $runtime 2>/dev/null; do sleep 0.01; done; unset runtime; exec sh -c "$1"' sh "$1" <&3 3<&- &
echo $! >pid
`;

/** The same with a terminal, whose master it sends to the console socket. */
const terminalRuntime = `#!/usr/bin/python3
import array, os, socket, sys, fcntl, termios
master, slave = os.openpty()
c = socket.socket(socket.AF_UNIX); c.connect("console")
c.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
pid = os.fork()
if pid == 0:
  os.setsid(); fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
  for fd in range(3): os.dup2(slave, fd)
  os.closerange(3, 100)
  os.execv("/bin/sh", ["sh", "-c", sys.argv[1]])
open("pid", "w").write(str(pid))
`;

/** Where a sanitized monitor reports to (scripts/test-native.sh). */
const sanitizers: Record<string, string> = {};
for (const name of ["ASAN_OPTIONS", "UBSAN_OPTIONS"]) {
  const value = process.env[name];
  if (value !== undefined) sanitizers[name] = value;
}

/** How a monitor is started. */
export interface MonitorOptions {
  readonly flags?: readonly string[];
  /** A file of the bundle, opened for appending; /dev/null if not given. */
  readonly log?: string | undefined;
  /** Another directory for exit codes. */
  readonly exits?: string;
  /** Another command than the fake OCI runtime. */
  readonly command?: readonly string[];
}

/** A davit-monitor and its container: a script of sh, which a fake OCI runtime starts. For tests of native/monitor.c. */
export class Monitored implements Disposable {
  readonly bundle: string;
  readonly exits: string;
  readonly child: Child;
  /** All that the monitor has answered. */
  readonly answer: Promise<string>;

  constructor(script: string, options: MonitorOptions = {}) {
    const { flags = [], log } = options;
    this.bundle = mkdtempSync(join(tmpdir(), "davit-monitor-"));
    this.exits = options.exits ?? join(this.bundle, "exits");
    mkdirSync(this.exits, { recursive: true });
    const program = join(this.bundle, "runtime");
    writeFileSync(program, flags.includes("--terminal") ? terminalRuntime : runtime, {
      mode: 0o755,
    });
    const file = log === undefined ? openSync("/dev/null", "w") : openSync(this.path(log), "a");
    try {
      this.child = spawnChild({
        file: monitorPath(),
        args: [
          ...["--cid", "c1", "--exit-dir", this.exits, ...flags, "--"],
          ...(options.command ?? [program, script]),
        ],
        env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...sanitizers },
        cwd: this.bundle,
        stdin: file,
        stdout: "pipe",
        newSession: true,
      });
    } finally {
      closeSync(file);
    }
    this.answer = textOf(this.child.stdout);
  }

  /** Starts a monitor and waits until its container runs. */
  static async start(script: string, options: MonitorOptions = {}): Promise<Monitored> {
    const monitored = new Monitored(script, options);
    const answer = await monitored.answer;
    if (!/^created \d+\n$/.test(answer)) {
      monitored[Symbol.dispose]();
      throw new Error(`no container: ${answer}`);
    }
    return monitored;
  }

  path(name: string): string {
    return resolve(this.bundle, name);
  }

  read(name: string): string {
    return readFileSync(this.path(name), "utf8");
  }

  /** The pid of the container's process. */
  get pid(): number {
    return Number(this.read("pid"));
  }

  /** What the monitor has written as exit code, when it has ended. */
  async exitCode(): Promise<string> {
    await this.child.exited;
    return readFileSync(join(this.exits, "c1"), "utf8");
  }

  /** A client; the first packet says what kind. */
  connect(kind: string): DescriptorStream {
    const client = connectPackets(this.path("attach"), 8192);
    client.on("error", () => undefined);
    if (kind !== "") client.write(kind);
    return client;
  }

  /** Waits until a file of the bundle has this text in it. */
  async untilIn(name: string, text: string): Promise<void> {
    await until(
      `"${text}" in ${name}`,
      () => existsSync(this.path(name)) && this.read(name).includes(text),
    );
  }

  /** Kills what is left, and removes the bundle. */
  [Symbol.dispose](): void {
    this.child.kill(9);
    try {
      if (this.pid > 0) process.kill(this.pid, 9);
    } catch {
      // It has ended, or was never created.
    }
    rmSync(this.bundle, { recursive: true, force: true });
  }
}

/** Sends a request to a monitor and resolves to its answer; undefined when the monitor disconnects. */
export async function ask(
  client: DescriptorStream,
  request: string,
  fd?: number,
): Promise<string | undefined> {
  const answer = Promise.withResolvers<string | undefined>();
  const onEnd = (): void => answer.resolve(undefined);
  client.once("end", onEnd).once("close", onEnd);
  client.once("data", (packet: Buffer) => answer.resolve(String(packet)));
  if (fd === undefined) client.write(request);
  else client.sendDescriptor(Buffer.from(request), fd);
  const result = await answer.promise;
  client.off("end", onEnd).off("close", onEnd);
  return result;
}

async function textOf(stream: Readable | undefined): Promise<string> {
  let text = "";
  for await (const chunk of stream ?? []) text += String(chunk);
  return text;
}
