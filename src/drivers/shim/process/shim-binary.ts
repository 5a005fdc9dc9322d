import { randomBytes } from "node:crypto";

import { stat } from "node:fs/promises";
import { join } from "node:path";

import type { Any } from "@bufbuild/protobuf/wkt";
import { messageOf, RuntimeError } from "../../../base/errors.ts";
import {
  type DeleteResponse,
  DeleteResponseSchema,
} from "../../../gen/containerd/task/v2/task_pb.ts";
import { findProgram, run, type RunResult } from "../../../linux/process/index.ts";
import { decodeBounded } from "../../../wire/protobuf.ts";
import {
  asksForParams,
  type Bootstrap,
  type BootstrapInput,
  bootstrapInput,
  parseBootstrap,
} from "./bootstrap.ts";
import type { PodFile } from "./state-layout.ts";

/** The containerd namespace of Kubernetes. */
export const namespace = "k8s.io";

/** How a shim reaches us. */
export interface ShimEnvironment {
  /** The socket for its events. The name of its own socket is derived from this path. */
  readonly eventsPath: string;
  /** A program that sends an event, for shims that cannot send events themselves. */
  readonly publishBinary: string;
  /** The directory for the sockets of shims that let us choose it. */
  readonly socketDirectory: string;
}

/**
 * A variable in the environment of a shim, and so of all processes that it starts: the pod's id, a dot, and a random
 * part for this shim of the pod. It identifies processes that have left the shim's process tree.
 */
export const markName = "DAVIT_SHIM";

/** The variable by which CRIU finds its configuration: `criu.conf` in the bundle of the shim. */
export const criuConfigVariable = "CRIU_CONFIG_FILE";

const startMs = 20_000;
/** The name of a shim's socket is a digest in hexadecimal, after a slash. */
const socketNameBytes = 65;
/** The bytes of a path in sockaddr_un, without its NUL (unix(7)). */
const maxSocketBytes = 107;
const deleteMs = 10_000;

/**
 * The program of a shim: a path is used unchanged, "io.containerd.runc.v2" is `containerd-shim-runc-v2` on
 * PATH. `failed-precondition` if there is none.
 */
export function shimProgram(runtimeType: string, runtimePath = ""): string {
  if (runtimePath !== "") return runtimePath;
  if (runtimeType.startsWith("/")) return runtimeType;
  const [name, version] = runtimeType.split(".").slice(-2);
  if (name === undefined || version === undefined) {
    throw new RuntimeError(
      "invalid-argument",
      `find shim "${runtimeType}": it must be a name such as "io.containerd.runc.v2", or an absolute path`,
    );
  }
  const searchPath = process.env["PATH"] ?? "";
  const program = findProgram(`containerd-shim-${name}-${version}`, searchPath);
  if (program !== undefined) return program;
  throw new RuntimeError(
    "failed-precondition",
    `find shim "${runtimeType}": containerd-shim-${name}-${version} is not on PATH "${searchPath}"; install it, or set runtime_path of the handler`,
  );
}

/** A call of a shim's program. */
interface ShimCall {
  readonly program: string;
  readonly environment: ShimEnvironment;
  readonly id: string;
  /** The bundle: its working directory. */
  readonly bundle: string;
  readonly signal?: AbortSignal;
}

/** Which input the programs of shims read, by program; as long as the file is the same. */
export class KnownInputs {
  readonly #known = new Map<string, { readonly stamp: string; readonly input: BootstrapInput }>();

  /** "options" for a program that was not started yet or has changed since: old shims do not report a wrong input. */
  async of(program: string): Promise<BootstrapInput> {
    const known = this.#known.get(program);
    return known !== undefined && known.stamp === (await stampOf(program))
      ? known.input
      : "options";
  }

  /** Keeps what the program reads. */
  async keep(program: string, input: BootstrapInput): Promise<void> {
    this.#known.set(program, { stamp: await stampOf(program), input });
  }
}

async function stampOf(program: string): Promise<string> {
  try {
    const info = await stat(program, { bigint: true });
    return [info.dev, info.ino, info.size, info.mtimeNs].join();
  } catch {
    return "";
  }
}

/**
 * Starts a shim for the bundle, or returns the one that already serves its group: the shim decides by
 * the annotations of config.json. A shim that says that it reads another input is started once more, and `inputs`
 * keeps that.
 */
export async function startShim(
  call: ShimCall & { readonly options: Any; readonly debug: boolean; readonly inputs: KnownInputs },
): Promise<Bootstrap> {
  const { program, inputs } = call;
  const first = await inputs.of(program);
  const result = await startWith(call, first);
  if (result.code === 0) return parseBootstrap(result.stdout);
  if (first === "params" || !asksForParams(result.stderr.toString("utf8"))) {
    throw failure("start", call, result);
  }
  const second = await startWith(call, "params");
  if (second.code !== 0) throw failure("start", call, second);
  await inputs.keep(program, "params");
  return parseBootstrap(second.stdout);
}

function startWith(
  call: ShimCall & { readonly options: Any; readonly debug: boolean },
  kind: BootstrapInput,
): Promise<RunResult> {
  const { id, options, environment } = call;
  const directory = environment.socketDirectory;
  const facts = { ...environment, id, namespace, options };
  const isShort = Buffer.byteLength(directory) + socketNameBytes <= maxSocketBytes;
  const input = bootstrapInput(kind, {
    ...facts,
    socketDirectory: isShort ? directory : undefined,
  });
  const flags = call.debug ? ["-debug"] : [];
  const env = {
    [markName]: `${id}.${randomBytes(6).toString("hex")}`,
    // For the OCI runtime under it: it has no other way to options of CRIU that an OCI runtime does not have.
    [criuConfigVariable]: join(call.bundle, "criu.conf" satisfies PodFile),
  };
  const run = { input: Buffer.from(input), env, timeoutMs: startMs };
  return runShim(call, [...flags, "start"], run);
}

/** Runs `delete` of the shim's program, which removes what a dead shim has left of a task. */
export async function deleteTask(call: ShimCall): Promise<DeleteResponse> {
  const args = ["-bundle", call.bundle, "delete"];
  const result = await runShim(call, args, { timeoutMs: deleteMs });
  if (result.code !== 0) throw failure("delete", call, result);
  try {
    return decodeBounded(DeleteResponseSchema, result.stdout);
  } catch (cause) {
    throw new RuntimeError("unknown", `shim delete: malformed response: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function runShim(
  call: ShimCall,
  verb: readonly string[],
  {
    env = {},
    ...options
  }: {
    readonly input?: Buffer;
    readonly env?: Readonly<Record<string, string>>;
    readonly timeoutMs: number;
  },
): Promise<RunResult> {
  const { eventsPath, publishBinary } = call.environment;
  return run({
    file: call.program,
    args: [
      ...["-namespace", namespace, "-address", eventsPath, "-publish-binary", publishBinary],
      ...["-id", call.id, ...verb],
    ],
    // Go's runtime starts a thread for each CPU, which a shim of one pod does not need.
    env: {
      PATH: process.env["PATH"] ?? "",
      GOMAXPROCS: "2",
      MAX_SHIM_VERSION: "3",
      NAMESPACE: namespace,
      TTRPC_ADDRESS: eventsPath,
      GRPC_ADDRESS: eventsPath,
      ...env,
    },
    cwd: call.bundle,
    // A shim that keeps running is in a process group of its own by then.
    killGroup: true,
    ...options,
    ...(call.signal === undefined ? {} : { signal: call.signal }),
  });
}

function failure(verb: string, { program }: ShimCall, result: RunResult): RuntimeError {
  const text = result.stderr.toString("utf8").trim() || result.stdout.toString("utf8").trim();
  const end =
    result.signal === null ? `exit code ${result.code ?? "?"}` : `signal ${result.signal}`;
  return new RuntimeError("unknown", `shim "${program}" ${verb}: ${text === "" ? end : text}`);
}
