import { rm, writeFile } from "node:fs/promises";

import { kindOf, messageOf, RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { systemError } from "../../../base/system-error.ts";
import { within } from "../../../base/wait.ts";
import type { CaptureRequest, ContainerCaptures } from "../../../core/container/index.ts";
import type { BoundHandler } from "../../../core/handler/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import { removeTree } from "../../../linux/file/index.ts";
import { isRuncType, runtimeOfOptions } from "../process/options.ts";
import { obstacleToRestores } from "./restore.ts";
import type { PodShims } from "../process/pod-shims.ts";
import type { StateLayout } from "../process/state-layout.ts";
import { advice, CaptureCall } from "./capture-call.ts";
import type { CriuTurns } from "./criu-turns.ts";
import { processText, readText } from "./shim-answers.ts";
import type { TrackedTask } from "./tracked-task.ts";

/** How a container is captured by a program that runs `checkpoint` of its OCI runtime; see `RuntimeCapture` there. */
export type CaptureBy = (
  deps: {
    readonly cgroups: CgroupLayout;
    readonly log: Logger;
  },
  capture: {
    readonly container: TrackedTask;
    readonly cgroupPath: string;
    readonly runtimePath: string;
    readonly spec: OciSpec;
    readonly config: string;
    readonly request: CaptureRequest;
    readonly run: (signal: AbortSignal) => Promise<void>;
  },
  operation: Operation,
) => Promise<void>;

/** How long davit may take to end the container of a shim that has ended. */
const endMs = 5_000;

interface Deps {
  readonly cgroups: CgroupLayout;
  readonly log: Logger;
  readonly paths: StateLayout;
  readonly shims: Pick<PodShims, "get">;
  readonly criu: CriuTurns;
  readonly captureBy: CaptureBy;
  readonly endCriu: (work: string, log: Logger) => Promise<void>;
  /** A container that runs; `not-found` for others. */
  readonly get: (id: string, doing: string) => TrackedTask;
  readonly specOf: (id: string) => Promise<OciSpec | undefined>;
}

/**
 * Captures containers by the task API of runc's shim, which runs `checkpoint` of the OCI runtime. Another shim writes files
 * that davit does not know.
 */
export class ShimCaptures implements ContainerCaptures {
  readonly #deps: Deps;

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async capture(id: string, request: CaptureRequest, operation: Operation): Promise<void> {
    const { paths, shims, criu, captureBy, get, specOf } = this.#deps;
    const container = get(id, "capture");
    const { sandboxId, cgroupPath } = container.state;
    const spec = await specOf(id);
    if (spec === undefined) {
      const text = `capture container "${id}": the spec that it was started with is lost`;
      throw new RuntimeError("failed-precondition", text);
    }
    using _turn = await criu.take(sandboxId, `capture container "${id}"`, operation.signal);
    const shim = await shims.get(sandboxId);
    const config = paths.podFile(sandboxId, "criu.conf");
    await using _note = await this.#note(id, request.work);
    const calls: CaptureCall[] = [];
    const run = async (signal: AbortSignal): Promise<void> => {
      const call = new CaptureCall(shim, id, request, config);
      calls.push(call);
      await call.result(signal);
    };
    const runtimePath = container.state.ociRuntime;
    const capture = { container, cgroupPath, runtimePath, spec, config, request, run };
    const open = (): CaptureCall | undefined => calls.find(({ isAnswered }) => !isAnswered);
    try {
      await captureBy(this.#deps, capture, operation);
      // CRIU may have been done when the deadline came, of which its shim has said nothing.
      if (open() !== undefined) operation.signal.throwIfAborted();
    } catch (cause) {
      // Not before CRIU has ended: it traces the processes, which do not end until then.
      if (calls.some(({ hasShimEnded }) => hasShimEnded)) await within(container.ended, endMs);
      const unanswered = open();
      if (unanswered === undefined) throw cause;
      void criu.refuseDuring(sandboxId, this.#cleanLate(id, unanswered, request));
      const what = `its shim${processText(shim)} does not answer, and the container was left as it was`;
      const text = `${messageOf(cause)}; ${what}: allow more time, or stop the pod, which ends the shim`;
      throw new RuntimeError(kindOf(cause), text, { cause });
    }
  }

  /** Notes where CRIU works, for the next daemon, until it is disposed of. */
  async #note(id: string, work: string): Promise<AsyncDisposable> {
    const path = this.#deps.paths.taskFile(id, "capture");
    try {
      await writeFile(path, work, { mode: 0o600 });
    } catch (cause) {
      throw systemError(`note the capture of container "${id}"`, cause);
    }
    return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
  }

  /**
   * Ends the CRIU of a capture whose daemon has died: the shim ends the OCI runtime with the connection, and CRIU continues
   * without it. Never rejects.
   */
  async endLost(id: string): Promise<void> {
    const { paths, endCriu, log } = this.#deps;
    const path = paths.taskFile(id, "capture");
    try {
      const work = await readText(path);
      if (work === undefined) return;
      await endCriu(work, log);
      await rm(path, { force: true });
    } catch (error) {
      log.warn(`failed to end a capture of container "${id}": ${messageOf(error)}`, { error });
    }
  }

  /** Waits for the late answer, and removes what the OCI runtime has made until then. Never rejects. */
  async #cleanLate(id: string, call: CaptureCall, { work }: CaptureRequest): Promise<void> {
    await call.answered;
    try {
      await removeTree(work);
    } catch (error) {
      const text = `failed to remove an abandoned capture of container "${id}": ${messageOf(error)}`;
      this.#deps.log.error(text, { error });
    }
  }

  obstacle(
    { name, runtimeType = "", controller, options = {} }: BoundHandler,
    use: "capture" | "restore",
  ): string | undefined {
    const by = `handler "${name}" runs containers by the shim "${runtimeType}"`;
    if (controller === "shim") {
      return `${by} with controller = "shim", whose containers davit does not capture; ${advice}`;
    }
    if (!isRuncType(runtimeType)) {
      return `${by}, and davit captures containers of runc's shim only; ${advice}`;
    }
    if (use === "capture") return undefined;
    const why = obstacleToRestores(options);
    return why === undefined ? undefined : `${by}, ${why}; ${advice}`;
  }

  ociRuntimeOf({ options = {} }: BoundHandler): string {
    return runtimeOfOptions(options);
  }
}
