import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { isKind, messageOf, RuntimeError } from "../../../base/errors.ts";
import { beforeAbort, within } from "../../../base/wait.ts";
import type { CaptureRequest } from "../../../core/container/index.ts";
import { CheckpointOptionsSchema } from "../../../gen/containerd/runc/v1/options_pb.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { openProcess } from "../../../linux/process/index.ts";
import { TtrpcStatusError } from "../../../wire/ttrpc/index.ts";
import type { PodShim } from "../process/pod-shims.ts";

/** Where a container can be captured. */
export const advice = "use a handler with a path, such as crun or runc";

/** How long a shim may take to end after it has closed its connection. */
const exitMs = 500;

/**
 * CRIU's configuration while nobody waits for a capture: CRIU ends at once because of an option that it does not have. A shim
 * that hangs may start it later, or may have started it just now.
 */
const noCapture = "davit-has-given-up-this-capture\n";
/** CRIU writes it when it has captured everything else. */
const lastImage = "inventory.img";

/** A call of Checkpoint of the task API. The shim may answer it after davit has given up. */
export class CaptureCall {
  /** Resolves when the shim has answered, or cannot do so any more. */
  readonly answered: Promise<void>;
  readonly #shim: PodShim;
  readonly #request: CaptureRequest;
  readonly #config: string;
  readonly #answer: Promise<unknown>;
  #isAnswered = false;
  #hasShimEnded = false;

  /** `config` is the path of CRIU's configuration. */
  constructor(shim: PodShim, id: string, request: CaptureRequest, config: string) {
    this.#shim = shim;
    this.#request = request;
    this.#config = config;
    const call = { id, path: request.images, options: optionsOf(request) };
    // Without a deadline: runc's shim kills the OCI runtime then, which does not end its CRIU.
    this.#answer = shim.task.call(Task.method.checkpoint, call, { timeoutMs: 0 });
    const done = (): void => {
      this.#isAnswered = true;
    };
    this.answered = this.#answer.then(done, done);
  }

  /** False while the shim may still answer. */
  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** True when the shim has ended before it answered; davit ends its containers then. */
  get hasShimEnded(): boolean {
    return this.#hasShimEnded;
  }

  /**
   * Resolves when the container is captured. After an error that is not an answer of the shim, no CRIU starts that would
   * capture it later. Nobody waits for the shim any more once the signal is aborted.
   */
  async result(signal: AbortSignal): Promise<void> {
    try {
      await beforeAbort(this.#answer, signal);
    } catch (cause) {
      if (cause instanceof TtrpcStatusError) throw explainStatus(cause);
      writeFileSync(this.#config, noCapture, { mode: 0o600 });
      if (signal.aborted) throw cause;
      throw await this.#explainLoss(cause);
    }
    if (existsSync(join(this.#request.images, lastImage))) return;
    writeFileSync(this.#config, noCapture, { mode: 0o600 });
    const text = `its shim says that it was captured, but has written no images of it: ${advice}`;
    throw new RuntimeError("unknown", text);
  }

  /** The error for a failure that is not an answer of the shim. */
  async #explainLoss(cause: unknown): Promise<RuntimeError> {
    if (!isKind(cause, "unavailable")) {
      const text = `its shim has sent what davit cannot read (${messageOf(cause)}): ${advice}`;
      return new RuntimeError("unknown", text, { cause });
    }
    const { process: known } = this.#shim;
    using process =
      known === undefined ? undefined : openProcess(known.pid, BigInt(known.startTime));
    if (process !== undefined && !(await within(process.exited, exitMs))) {
      const text = `the connection to its shim was lost (${messageOf(cause)}): try again, or stop the pod, which ends the shim`;
      return new RuntimeError("unavailable", text, { cause });
    }
    this.#hasShimEnded = true;
    const text = "its shim has ended, and the container with it: create the container again";
    return new RuntimeError("failed-precondition", text, { cause });
  }
}

/** The error for a shim that has answered with one. */
function explainStatus(cause: TtrpcStatusError): RuntimeError {
  if (!isKind(cause, "unimplemented")) return cause;
  const text = `the shim of the pod has no checkpoints (${messageOf(cause)}): ${advice}`;
  return new RuntimeError("unimplemented", text, { cause });
}

/**
 * containerd.runc.v1.CheckpointOptions. The images go where the request says (CheckpointTaskRequest.path). Not `openTcp`: it
 * blocks the network of the whole pod meanwhile. CRIU's configuration has what it does with connections.
 */
function optionsOf({ work, leaveRunning }: CaptureRequest): Any {
  const options = create(CheckpointOptionsSchema, {
    exit: !leaveRunning,
    externalUnixSockets: true,
    fileLocks: true,
    workPath: work,
  });
  const value = toBinary(CheckpointOptionsSchema, options);
  return create(AnySchema, { typeUrl: CheckpointOptionsSchema.typeName, value });
}
