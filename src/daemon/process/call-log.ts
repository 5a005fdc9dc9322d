import type { LogFields, Logger } from "../../base/logger.ts";
import type { Call, CallEnd } from "../../wire/grpc/call.ts";
import { grpcCodeOfKind, grpcOk } from "../../wire/grpc/status.ts";

// What kubelet polls every second or so, and its probes: a line for each would hide the others.
const polling = /\/(List|Stream)\w*$|(Status|Stats|Version|RuntimeConfig|FsInfo|ExecSync)$/;

/** Calls that last until their client or the daemon ends, or a command. */
const longCalls = /\/(GetContainerEvents|Events|Logs|Hold|davit\.v1\.Containers\/Exec)$/;

/** Whether a call is a stream of events or a log, holds a lease, or runs a command with its streams. */
export function isEventStream({ method }: Pick<Call, "method">): boolean {
  return longCalls.test(method);
}

/** How such a call ends without a fault: by its client, or with the daemon. */
const ordinaryEnds: ReadonlySet<number> = new Set([
  grpcCodeOfKind.canceled,
  grpcCodeOfKind["deadline-exceeded"],
  grpcCodeOfKind.unavailable,
]);

/**
 * A status of an object that does not exist is an answer. With EventedPLEG, kubelet asks for the status of each
 * container that it has just removed, and removes it again.
 */
function isGone(call: Call, code: number): boolean {
  return (
    code === grpcCodeOfKind["not-found"] && /\/(Container|PodSandbox)Status$/.test(call.method)
  );
}

/**
 * Logs one line for each call, when it ends. Polling calls are logged only at debug level, as are calls with the field
 * `already`, which changed nothing: kubelet repeats StopPodSandbox until the pod is removed. Failures are warnings,
 * except for the status of what does not exist.
 */
export class CallLog {
  readonly #log: Logger;
  readonly #fields = new WeakMap<Call, LogFields>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Adds fields to the line of a call. Has no effect after the call has ended. */
  note(call: Call, fields: LogFields): void {
    this.#fields.set(call, { ...this.#fields.get(call), ...fields });
  }

  /** The fields that were added to the line of a call. */
  fieldsOf(call: Call): LogFields {
    return this.#fields.get(call) ?? {};
  }

  /** Writes the line. */
  ended(call: Call, end: CallEnd): void {
    const method = call.method.slice(call.method.lastIndexOf("/") + 1);
    const ms = Math.round(end.durationMs * 10) / 10;
    const noted = this.#fields.get(call);
    const fields = { ...noted, call: call.id, ...peerOf(call), code: end.code, ms };
    const isOrdinary = end.code === grpcOk || (isEventStream(call) && ordinaryEnds.has(end.code));
    if (isGone(call, end.code)) this.#log.debug(`${method} failed: ${end.message}`, fields);
    else if (!isOrdinary) this.#log.warn(`${method} failed: ${end.message}`, fields);
    else if (polling.test(call.method) || noted?.["already"] !== undefined)
      this.#log.debug(method, fields);
    else this.#log.info(method, fields);
  }
}

/** Who called: the name, pid and uid of the process. */
function peerOf({ peer }: Call): LogFields {
  if (peer === undefined) return {};
  return { ...(peer.name === "" ? {} : { peer: peer.name }), peerPid: peer.pid, peerUid: peer.uid };
}
