/** The davit command as a separate process, as a user or a script starts it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { TestDaemon } from "../daemon.ts";
import { busybox } from "./containers.ts";

/** The command itself. */
export const program = path.resolve(import.meta.dirname, "../../../bin/davit");

/** A script that runs until it gets its stop signal, and ends then. */
export const sleeper = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

/** A Pod of one container that runs a shell script. */
export function podOf(
  name: string,
  script: string,
  more: { spec?: string; container?: string } = {},
): string {
  return `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
${more.spec ?? ""}
  containers:
    - name: main
      image: ${busybox}
      imagePullPolicy: IfNotPresent
      command: [/bin/sh, -c, ${JSON.stringify(script)}]
${more.container ?? ""}
`;
}

/** Output and exit code of a command. */
interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A running command. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ran>;
}

/** The davit command with the socket of a daemon, and a pods directory of the test. */
export class Davit {
  readonly podsDirectory: string;
  readonly #daemon: TestDaemon;
  #files = 0;

  constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
    this.podsDirectory = path.join(daemon.paths.directory, "pods");
  }

  /** Starts the command with these arguments; `input` is its stdin. */
  start(args: readonly string[], input: string | Buffer = ""): Running {
    const own = ["run", "down", "rm"].includes(args[0] ?? "")
      ? ["--pods-directory", this.podsDirectory]
      : [];
    const [command = "", ...rest] = args;
    const child = spawn(program, [command, ...own, ...rest], {
      stdio: ["pipe", "pipe", "pipe"],
      env: {
        ...process.env,
        NODE_TEST_CONTEXT: undefined,
        DAVIT_ENDPOINT: `unix://${this.#daemon.paths.socket}`,
      },
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
    return { child, ended: endOf(child) };
  }

  /** Runs the command with these arguments until it ends. */
  async run(...args: string[]): Promise<Ran> {
    return this.start(args).ended;
  }

  /** Like run(), but fails unless the exit code is 0. Returns stdout. */
  async done(...args: string[]): Promise<string> {
    const { code, out, err } = await this.run(...args);
    if (code === 0) return out;
    throw new Error(`davit ${args.join(" ")}: code ${code}\n${out}${err}`);
  }

  /** Runs pods during `use`. */
  async withPods(yaml: string, use: () => Promise<void>): Promise<void> {
    const file = this.manifest(yaml);
    await this.done("run", "--wait", file);
    try {
      await use();
    } finally {
      await this.done("down", "-t", "0", file);
    }
  }

  /** Writes a manifest and returns its path. */
  manifest(yaml: string): string {
    this.#files += 1;
    const file = path.join(this.#daemon.paths.directory, `manifest-${this.#files}.yaml`);
    writeFileSync(file, yaml);
    return file;
  }
}

async function endOf(child: ChildProcess): Promise<Ran> {
  const { stdout, stderr } = child;
  const [out, err, [code]] = await Promise.all([
    stdout === null ? "" : text(stdout),
    stderr === null ? "" : text(stderr),
    once(child, "close") as Promise<[number | null]>,
  ]);
  return { code, out, err };
}
