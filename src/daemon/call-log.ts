import type { Logger } from "../base/logger.ts";
import type { Call, CallEnd } from "../wire/grpc/call.ts";
import { grpcOk } from "../wire/grpc/status.ts";

// What kubelet asks every second or so: one line each would bury the rest.
const polling = /\/(List|Stream)\w*$|(Status|Stats|Version|RuntimeConfig|FsInfo)$/;

/** One log line for each call, when it ends. Answers to polling are for debugging only. */
export function logCall(log: Logger, call: Call): (end: CallEnd) => void {
  return (end) => {
    const method = call.method.slice(call.method.lastIndexOf("/") + 1);
    const fields = { call: call.id, code: end.code, ms: Math.round(end.durationMs * 10) / 10 };
    if (end.code !== grpcOk) log.warn(`${method} failed: ${end.message}`, fields);
    else if (polling.test(call.method)) log.debug(method, fields);
    else log.info(method, fields);
  };
}
