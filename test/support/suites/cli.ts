/** The davit command as a person or a script starts it: a process of its own. */
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

/** What a command said and how it ended. */
interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A command that runs. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ran>;
}

/** The davit command with a daemon's socket, and a directory of the test's own for its pods. */
export class Davit {
  readonly podsDirectory: string;
  readonly #daemon: TestDaemon;
  #files = 0;

  constructor(daemon: TestDaemon) {
    this.#daemon = daemon;
    this.podsDirectory = path.join(daemon.paths.directory, "pods");
  }

  /** Starts it with these words; `input` is its stdin. */
  start(args: readonly string[], input = ""): Running {
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

  /** Runs it with these words to its end. */
  async run(...args: string[]): Promise<Ran> {
    return this.start(args).ended;
  }

  /** As run(), and fails unless it is done; what it printed. */
  async done(...args: string[]): Promise<string> {
    const { code, out, err } = await this.run(...args);
    if (code === 0) return out;
    throw new Error(`davit ${args.join(" ")}: code ${code}\n${out}${err}`);
  }

  /** Writes a manifest; its path. */
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
