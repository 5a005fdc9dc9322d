/**
 * A sandboxer: a shim that serves all of containerd's sandbox API, and fails on demand. Its sandbox is a process
 * with namespaces of its own. It forwards the task API to containerd's runc shim, which uses crun.
 *
 * As a program it is what runtime_type names: `sandboxer.ts SCRIPT -namespace ... start`. SCRIPT is a
 * JSON file that is read at every call, so that a test changes it while the sandboxer runs.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema, timestampNow } from "@bufbuild/protobuf/wkt";
import { messageOf, RuntimeError, type ErrorKind } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { OptionsSchema } from "../../src/gen/containerd/runc/v1/options_pb.ts";
import { Sandbox } from "../../src/gen/containerd/runtime/sandbox/v1/sandbox_pb.ts";
import {
  CreateTaskRequestSchema,
  ExecProcessRequestSchema,
  StartRequestSchema,
  Task,
} from "../../src/gen/containerd/task/v3/task_pb.ts";
import { type PodSandboxConfig, PodSandboxConfigSchema } from "../../src/gen/runtime/v1/api_pb.ts";
import {
  TtrpcClient,
  type TtrpcHandler,
  TtrpcServer,
  unaryMethod,
} from "../../src/wire/ttrpc/index.ts";
import { TestStreams } from "./sandboxer-streams.ts";

/**
 * How a call fails: `late` answers after a while, `empty` with an empty message, `say` with the given bytes.
 * `leave` succeeds and leaves a daemon (leftBy()) in the cgroup of that file, or in its own cgroup if that is "".
 * `held` succeeds when the script no longer has this fault, and then writes a note (heldEnd()).
 */
export type Fault =
  | { readonly does: "hang" | "die" | "empty" | "late" | "held" }
  | { readonly does: "fail"; readonly kind: ErrorKind }
  | { readonly does: "say"; readonly hex: string }
  | { readonly does: "leave"; readonly procs: string };

/** What calls do, by the method's name. A method that is not named succeeds. */
export type SandboxerScript = Readonly<Record<string, Fault>>;

/** Replaces the script atomically: a call reads the old one or the new one. */
export function writeSandboxerScript(file: string, script: SandboxerScript): void {
  writeFileSync(`${file}.tmp`, JSON.stringify(script));
  renameSync(`${file}.tmp`, file);
}

/** The result of a held call of the method: "done", or why it failed. Undefined before its end. */
export function heldEnd(file: string, method: string): string | undefined {
  const note = `${file}.${method}`;
  return existsSync(note) ? readFileSync(note, "utf8") : undefined;
}

/**
 * Makes a directory with a sandboxer: `program` is for runtime_type, `file` is its script, which is empty.
 * The caller removes it with removeSandboxer().
 */
export function makeSandboxer(): {
  readonly directory: string;
  readonly program: string;
  readonly file: string;
} {
  const directory = mkdtempSync(path.join(tmpdir(), "davit-sb-"));
  const program = path.join(directory, "sandboxer");
  const file = path.join(directory, "script.json");
  writeSandboxerScript(file, {});
  const self = path.join(import.meta.dirname, "sandboxer.ts");
  const text = `#!/bin/sh\nexec "${process.execPath}" "${self}" "${file}" "$@"\n`;
  writeFileSync(program, text, { mode: 0o755 });
  return { directory, program, file };
}

/** The file in a bundle that has the pid of the runc shim. */
const innerFile = "inner.pid";

interface Call {
  readonly script: string;
  readonly id: string;
  readonly socket: string;
}

async function main(argv: readonly string[]): Promise<void> {
  const [script = "", ...words] = argv;
  const id = words[words.indexOf("-id") + 1] ?? "";
  // A socket's path must be short. Each sandbox has its own.
  const name = createHash("sha256").update(id).digest("hex").slice(0, 12);
  const call = { script, id, socket: path.join(path.dirname(script), `${name}.s`) };
  const verb = words.at(-1);
  if (verb === "start") await start(call);
  else if (verb === "serve") await serve(call);
  else if (verb === "delete") deleteTask(words);
}

/** Starts the server, which outlives this process, and prints its address. */
async function start({ script, id, socket }: Call): Promise<void> {
  const self = path.join(import.meta.dirname, "sandboxer.ts");
  const child = spawn(process.execPath, [self, script, "-id", id, "serve"], {
    detached: true,
    stdio: "ignore",
  });
  child.unref();
  while (!existsSync(socket)) await sleep(5);
  const answer = { version: 3, address: `unix://${socket}`, protocol: "ttrpc" };
  process.stdout.write(JSON.stringify(answer));
}

/** Ends what a dead sandboxer left: the runc shim of a sandbox, or what the shim left of a task. */
function deleteTask(words: readonly string[]): void {
  if (existsSync(innerFile)) {
    const pid = Number(readFileSync(innerFile, "utf8"));
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended.
    }
    return;
  }
  const answer = execFileSync("containerd-shim-runc-v2", words, {
    stdio: ["ignore", "pipe", "ignore"],
  });
  process.stdout.write(answer);
}

async function serve({ script, id, socket }: Call): Promise<void> {
  const tasks = await startRuncShim(script, id);
  const sandbox = new TestSandbox();
  const streams = new TestStreams(script);
  const methods = new Map<string, TtrpcHandler>([
    ...sandbox.methods(),
    ...passThrough(tasks, script, streams),
    streams.method(),
  ]);
  for (const [name, handler] of methods) methods.set(name, scripted(script, name, handler));
  const server = new TtrpcServer({ methods, log: silentLogger });
  sandbox.onShutdown = () => {
    void tasks
      .call(Task.method.shutdown, { id, now: true }, { service: "containerd.task.v2.Task" })
      .catch(() => undefined)
      .then(() => server.stop())
      .then(() => process.exit(0));
  };
  process.on("SIGTERM", () => sandbox.onShutdown());
  await server.listen(socket, { mode: 0o600 });
}

/** The runc shim that runs the tasks. Its name comes from the script, so that no other test uses it. */
async function startRuncShim(script: string, id: string): Promise<TtrpcClient> {
  const words = ["-namespace", "k8s.io", "-address", script, "-publish-binary", "true"];
  const address = execFileSync("containerd-shim-runc-v2", [...words, "-id", id, "start"], {
    stdio: ["ignore", "pipe", "ignore"],
    encoding: "utf8",
  });
  const tasks = await TtrpcClient.connect(address.trim().replace("unix://", ""));
  const service = "containerd.task.v2.Task";
  const { shimPid } = await tasks.call(Task.method.connect, { id }, { service });
  writeFileSync(innerFile, String(shimPid));
  return tasks;
}

/** A sandbox that is one process. */
class TestSandbox {
  onShutdown: () => void = () => undefined;
  readonly #ended = Promise.withResolvers<number>();
  #netns = "";
  #config: PodSandboxConfig | undefined;
  #child: ChildProcess | undefined;
  /** Of the sandbox's first process, which has a PID namespace of its own. */
  #pid = 0;
  #createdAt = timestampNow();
  #ready = false;

  methods(): readonly (readonly [string, TtrpcHandler])[] {
    const { method } = Sandbox;
    return [
      unaryMethod(method.createSandbox, ({ netnsPath, options }) => {
        this.#netns = netnsPath;
        if (options !== undefined) this.#config = fromBinary(PodSandboxConfigSchema, options.value);
        return Promise.resolve({});
      }),
      unaryMethod(method.startSandbox, () => this.#start()),
      unaryMethod(method.platform, () =>
        Promise.resolve({ platform: { os: "linux", architecture: "amd64" } }),
      ),
      unaryMethod(method.stopSandbox, async () => {
        this.#kill();
        if (this.#child !== undefined) await this.#ended.promise;
        return {};
      }),
      unaryMethod(method.waitSandbox, async () => ({
        exitStatus: await this.#ended.promise,
        exitedAt: timestampNow(),
      })),
      unaryMethod(method.sandboxStatus, ({ sandboxId, verbose }) =>
        Promise.resolve({
          sandboxId,
          pid: this.#pid,
          state: this.#ready ? "SANDBOX_READY" : "SANDBOX_NOTREADY",
          createdAt: this.#createdAt,
          info: verbose ? { sandboxer: JSON.stringify({ own: true }) } : {},
        }),
      ),
      unaryMethod(method.pingSandbox, () => Promise.resolve({})),
      unaryMethod(method.sandboxMetrics, () => Promise.resolve({})),
      unaryMethod(method.shutdownSandbox, () => {
        this.#kill();
        setTimeout(() => this.onShutdown(), 5);
        return Promise.resolve({});
      }),
    ];
  }

  async #start(): Promise<{
    readonly pid: number;
    readonly createdAt: ReturnType<typeof timestampNow>;
  }> {
    this.#createdAt = timestampNow();
    const enter = this.#netns === "" ? [] : ["nsenter", `--net=${this.#netns}`];
    const own = ["unshare", "--ipc", "--uts", "--pid", "--fork", "--kill-child"];
    const [program, ...args] = [...enter, ...own, "sh", "-c", asSandbox, "sh"];
    const child = spawn(program, [...args, ...this.#sysctls()], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#child = child;
    child.once("exit", (code, signal) => {
      this.#ready = false;
      this.#ended.resolve(code ?? (signal === null ? 255 : 137));
    });
    await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
    this.#pid = Number.parseInt(children, 10);
    this.#ready = true;
    return { pid: this.#pid, createdAt: this.#createdAt };
  }

  /** unshare(1) ends after its child: when it has ended, the child has, too. */
  #kill(): void {
    if (this.#ready) process.kill(this.#pid, "SIGKILL");
    else this.#child?.kill("SIGKILL");
  }

  /** The sysctls of the pod's config, as files and values in turn. The hostname is one of them. */
  #sysctls(): readonly string[] {
    const { hostname, linux } = this.#config ?? { hostname: "" };
    const all = Object.entries(linux?.sysctls ?? {});
    if (hostname !== "") all.push(["kernel.hostname", hostname]);
    return all.flatMap(([name, value]) => [`/proc/sys/${name.replaceAll(".", "/")}`, value]);
  }
}

/**
 * The program of a sandbox's process: it writes its sysctls, prints that it is ready, and waits. It does not run
 * "sleep", because containers that share its PID namespace search for a process of that name.
 */
const asSandbox =
  'while [ $# -gt 0 ]; do printf %s "$2" >"$1"; shift 2; done; echo ready; exec tail -f /dev/null';

/** The task service, which forwards all calls to the runc shim. */
function passThrough(
  tasks: TtrpcClient,
  script: string,
  streams: TestStreams,
): readonly (readonly [string, TtrpcHandler])[] {
  const root = path.join(path.dirname(script), "runc");
  const options = create(AnySchema, {
    typeUrl: OptionsSchema.typeName,
    value: toBinary(OptionsSchema, create(OptionsSchema, { binaryName: "crun", root })),
  });
  const metadata = { "containerd-namespace-ttrpc": "k8s.io" };
  return Object.values(Task.method).map(({ name }) => [
    `${Task.typeName}/${name}`,
    {
      kind: "unary",
      handle: async (request) => {
        // For its caller this sandboxer is the shim.
        if (name === "Connect") return ownPid();
        let payload = request;
        if (name === "Create") {
          const message = fromBinary(CreateTaskRequestSchema, request);
          const fifos = streams.fifosFor(message);
          payload = toBinary(CreateTaskRequestSchema, { ...message, ...fifos, options });
        }
        if (name === "Exec") {
          const message = fromBinary(ExecProcessRequestSchema, request);
          payload = toBinary(ExecProcessRequestSchema, {
            ...message,
            ...streams.fifosFor(message),
          });
        }
        const answer = await tasks.unary(
          { service: "containerd.task.v2.Task", method: name },
          payload,
          { metadata },
        );
        // The runc shim has opened them.
        if (name === "Create") streams.letEnd(fromBinary(CreateTaskRequestSchema, request).id);
        if (name === "Start") streams.letEnd(fromBinary(StartRequestSchema, request).execId);
        return answer;
      },
    },
  ]);
}

function ownPid(): Uint8Array {
  const { output } = Task.method.connect;
  return toBinary(output, create(output, { shimPid: process.pid }));
}

/** The current script of the method. */
function scripted(script: string, name: string, handler: TtrpcHandler): TtrpcHandler {
  if (handler.kind !== "unary") return handler;
  const method = name.slice(name.indexOf("/") + 1);
  return {
    kind: "unary",
    handle: async (request, call) => {
      const look = (): Fault | undefined =>
        (JSON.parse(readFileSync(script, "utf8")) as SandboxerScript)[method];
      const fault = look();
      switch (fault?.does) {
        case "hang":
          return new Promise<never>(() => undefined);
        case "die":
          process.kill(process.pid, "SIGKILL");
          return new Promise<never>(() => undefined);
        case "empty":
          return new Uint8Array();
        case "leave": {
          const answer = await handler.handle(request, call);
          leave(script, fault.procs);
          return answer;
        }
        case "say":
          return Buffer.from(fault.hex, "hex");
        case "fail":
          throw new RuntimeError(fault.kind, `${method} was told to fail`);
        case "held": {
          while (look()?.does === "held") await sleep(5);
          const done = handler.handle(request, call);
          const note = (text: string) => writeFileSync(`${script}.${method}`, text);
          await done.then(
            () => note("done"),
            (error: unknown) => note(messageOf(error)),
          );
          return done;
        }
        case "late":
          await sleep(300);
          return handler.handle(request, call);
        case undefined:
          return handler.handle(request, call);
      }
    },
  };
}

/** A daemon like a virtual machine or a file server: an orphan with a session of its own. */
function leave(script: string, procs: string): void {
  const enter = procs === "" ? "" : `echo $$ >"${procs}";`;
  const note = `${script}.left`;
  const text = `${enter} echo $$ >"${note}.tmp"; mv "${note}.tmp" "${note}"; exec tail -f /dev/null`;
  // If it is in a cgroup, only the cgroup identifies it.
  const bare = procs === "" ? [] : ["env", "-i", "PATH=/usr/bin:/bin"];
  const words = [...bare, "setsid", "-f", "sh", "-c", text];
  execFileSync(words[0] ?? "", words.slice(1), { stdio: "ignore" });
}

/** The pid of the daemon that a call left; undefined before the call. */
export function leftBy(file: string): number | undefined {
  const note = `${file}.left`;
  return existsSync(note) ? Number(readFileSync(note, "utf8")) : undefined;
}

if (import.meta.main) {
  await main(process.argv.slice(2));
  if (process.argv.at(-1) !== "serve") process.exit(0);
}

/** Removes the files that a killed sandboxer left next to its script. */
export function removeSandboxer(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}
