import { RuntimeError } from "../../base/errors.ts";

/** How a command ended: with an exit code, or because davit could not run it. */
export type CommandEnd = { readonly exitCode: number } | { readonly failure: string };

/**
 * The `v1.Status` of Kubernetes at the end of a command, in protocols since v4. kubectl reads the exit code from
 * the cause named ExitCode, and shows the message of other failures.
 */
export function formatStatus(end: CommandEnd): string {
  if ("failure" in end) {
    const failed = { status: "Failure", message: end.failure, reason: "InternalError" };
    const details = { causes: [{ message: end.failure }] };
    return JSON.stringify({ metadata: {}, ...failed, details, code: 500 });
  }
  if (end.exitCode === 0) return JSON.stringify({ metadata: {}, status: "Success" });
  return JSON.stringify({
    metadata: {},
    status: "Failure",
    message: `command terminated with non-zero exit code: ${end.exitCode}`,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(end.exitCode) }] },
  });
}

/** The end of a command in protocols before v4: empty after success, otherwise a sentence. */
export function formatEnd(end: CommandEnd): string {
  if ("failure" in end) return end.failure;
  if (end.exitCode === 0) return "";
  return `command terminated with non-zero exit code: ${end.exitCode}`;
}

/** Reads a v1.Status; throws `internal` for a malformed one. */
export function parseStatus(text: string): CommandEnd {
  const refuse = (why: string): RuntimeError =>
    new RuntimeError(
      "internal",
      `read status of command: ${why}; the server speaks another protocol`,
    );
  let status: unknown;
  try {
    status = JSON.parse(text);
  } catch {
    throw refuse("not JSON");
  }
  if (!isObject(status)) throw refuse("not an object");
  if (status["status"] === "Success") return { exitCode: 0 };
  if (status["reason"] === "NonZeroExitCode") {
    const exitCode = exitCodeOf(status["details"]);
    if (exitCode === undefined) throw refuse("no exit code");
    return { exitCode };
  }
  const message = status["message"];
  return { failure: typeof message === "string" ? message : "the server did not send a reason" };
}

function exitCodeOf(details: unknown): number | undefined {
  const causes = isObject(details) ? details["causes"] : undefined;
  if (!Array.isArray(causes)) return undefined;
  const cause: unknown = causes.find((item) => isObject(item) && item["reason"] === "ExitCode");
  const text = isObject(cause) ? cause["message"] : undefined;
  return typeof text === "string" && /^\d{1,3}$/.test(text) ? Number(text) : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
