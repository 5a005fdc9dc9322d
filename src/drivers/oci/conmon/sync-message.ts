import { messageOf, RuntimeError } from "../../../base/errors.ts";

/** A line of JSON that conmon wrote to its sync pipe. */
export interface SyncMessage {
  /** -1: the runtime failed. */
  readonly pid: number;
  readonly message: string;
}

/** Parses conmon's answer (`{"pid": 12}` or `{"pid": -1, "message": "..."}`); throws `internal` for any other. */
export function parseSyncMessage(line: string): SyncMessage {
  try {
    const json = JSON.parse(line) as {
      readonly pid?: unknown;
      readonly message?: unknown;
    } | null;
    if (typeof json?.pid === "number" && Number.isInteger(json.pid)) {
      return { pid: json.pid, message: typeof json.message === "string" ? json.message : "" };
    }
  } catch (cause) {
    // conmon 2.1 does not always escape as JSON requires; the message is read anyway.
    const broken = /^\{"pid": (-?\d+), "message": "(.*)"\}$/s.exec(line);
    if (broken !== null) return { pid: Number(broken[1]), message: broken[2] ?? "" };
    throw new RuntimeError("internal", `read answer of conmon: ${messageOf(cause)}: "${line}"`);
  }
  throw new RuntimeError("internal", `read answer of conmon: it must have a pid; it is "${line}"`);
}
