import type { LogFields, Logger } from "../../base/logger.ts";
import type { Call, CallEnd } from "../../wire/grpc/call.ts";
import { grpcOk } from "../../wire/grpc/status.ts";

// What kubelet asks every second or so, and its probes: one line each would bury the rest.
const polling = /\/(List|Stream)\w*$|(Status|Stats|Version|RuntimeConfig|FsInfo|ExecSync)$/;

/** One log line for each call, when it ends. Answers to polling are for debugging only. */
export class CallLog {
  readonly #log: Logger;
  readonly #facts = new WeakMap<Call, LogFields>();

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Adds to what the line of a call says. What comes after the call's end is in no line. */
  note(call: Call, facts: LogFields): void {
    this.#facts.set(call, { ...this.#facts.get(call), ...facts });
  }

  /** Writes the line. */
  ended(call: Call, end: CallEnd): void {
    const method = call.method.slice(call.method.lastIndexOf("/") + 1);
    const ms = Math.round(end.durationMs * 10) / 10;
    const fields = { ...this.#facts.get(call), call: call.id, code: end.code, ms };
    if (end.code !== grpcOk) this.#log.warn(`${method} failed: ${end.message}`, fields);
    else if (polling.test(call.method)) this.#log.debug(method, fields);
    else this.#log.info(method, fields);
  }
}
