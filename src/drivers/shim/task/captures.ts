import { create, toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { isKind, messageOf, RuntimeError } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import type { Logger } from "../../../base/logger.ts";
import type { CaptureRequest, ContainerCaptures } from "../../../core/container/index.ts";
import type { BoundHandler } from "../../../core/handler/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { CheckpointOptionsSchema } from "../../../gen/containerd/runc/v1/options_pb.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { CgroupLayout } from "../../../linux/cgroup/index.ts";
import { isRuncType, runtimeOfOptions } from "../process/options.ts";
import type { PodShim, PodShims } from "../process/pod-shims.ts";
import type { StateLayout } from "../process/state-layout.ts";
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

interface Deps {
  readonly cgroups: CgroupLayout;
  readonly log: Logger;
  readonly paths: StateLayout;
  readonly shims: Pick<PodShims, "get">;
  readonly captureBy: CaptureBy;
  /** A container that runs; `not-found` for others. */
  readonly get: (id: string, doing: string) => TrackedTask;
  readonly specOf: (id: string) => Promise<OciSpec | undefined>;
}

const advice = "use a handler with a path, such as crun or runc";

/**
 * Captures containers by the task API of runc's shim, which runs `checkpoint` of the OCI runtime. Another shim writes files
 * that davit does not know.
 */
export class ShimCaptures implements ContainerCaptures {
  readonly #deps: Deps;
  /** By pod: CRIU's configuration is a file of its shim. */
  readonly #locks = new KeyedLock();

  constructor(deps: Deps) {
    this.#deps = deps;
  }

  async capture(id: string, request: CaptureRequest, operation: Operation): Promise<void> {
    const { paths, shims, captureBy, get, specOf } = this.#deps;
    const container = get(id, "capture");
    const { sandboxId, cgroupPath } = container.state;
    const spec = await specOf(id);
    if (spec === undefined) {
      const text = `capture container "${id}": the spec that it was started with is lost`;
      throw new RuntimeError("failed-precondition", text);
    }
    using _turn = await this.#locks.acquire(sandboxId, operation.signal);
    const shim = await shims.get(sandboxId);
    const config = paths.podFile(sandboxId, "criu.conf");
    const run = (signal: AbortSignal): Promise<void> => checkpoint(shim, id, request, signal);
    const runtimePath = container.state.ociRuntime;
    const capture = { container, cgroupPath, runtimePath, spec, config, request, run };
    await captureBy(this.#deps, capture, operation);
  }

  obstacle(
    { name, runtimeType = "", controller }: BoundHandler,
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
    return `${by}, which would let restored processes run before davit has checked them; ${advice}`;
  }

  ociRuntimeOf({ options = {} }: BoundHandler): string {
    return runtimeOfOptions(options);
  }
}

/** Has the shim run `checkpoint`. The task is not known to the shim any more when its process ends with the capture. */
async function checkpoint(
  shim: PodShim,
  id: string,
  request: CaptureRequest,
  signal: AbortSignal,
): Promise<void> {
  try {
    const call = { id, path: request.images, options: optionsOf(request) };
    await shim.task.call(Task.method.checkpoint, call, { signal, timeoutMs: 0 });
  } catch (cause) {
    if (!isKind(cause, "unimplemented")) throw cause;
    const text = `the shim of the pod has no checkpoints (${messageOf(cause)}): ${advice}`;
    throw new RuntimeError("unimplemented", text, { cause });
  }
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
