import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import { quoteValue } from "../../base/quote.ts";
import { isObject, type JsonObject, parseObject } from "./conflist.ts";
import type { PluginExit } from "./plugin-exec.ts";

/** The plugin does not know the container: nothing is left to clean up (specification, section 5). */
export const codeUnknownContainer = 3;

// Specification 1.1.0, section 5, "Error". 100 and above are the plugins' own.
const kinds: Readonly<Record<number, ErrorKind>> = {
  1: "failed-precondition", // incompatible CNI version
  2: "invalid-argument", // unsupported field
  [codeUnknownContainer]: "failed-precondition",
  4: "invalid-argument", // environment variables
  6: "invalid-argument", // content cannot be decoded
  7: "invalid-argument", // network configuration
  11: "unavailable", // try again later
  50: "unavailable", // STATUS: no ADD possible
  51: "unavailable", // STATUS: and containers may have lost their network
};

const shownBytes = 1024;

/** A plugin that answered with an error. */
export class PluginError extends RuntimeError {
  /** The plugin's error code; undefined without a readable one. */
  readonly code: number | undefined;

  constructor(code: number | undefined, message: string) {
    super(kinds[code ?? 0] ?? "internal", message);
    this.name = "PluginError";
    this.code = code;
  }
}

function parseError(stdout: string): JsonObject | undefined {
  try {
    const answer = parseObject(stdout);
    return typeof answer["code"] === "number" || typeof answer["msg"] === "string"
      ? answer
      : undefined;
  } catch {
    return undefined; // not JSON: the caller shows the output
  }
}

/** The last of what a plugin wrote, on one line, for an error message; "" when it wrote nothing. */
function tailOf(output: Buffer): string {
  const text = output.subarray(-shownBytes).toString("utf8").trim();
  const cut = output.length > shownBytes ? "..." : "";
  return text === "" ? "" : cut + text.replace(/\s+/g, " ");
}

/** What a plugin answered, cut: it goes into the events of the pod. */
function headOf(text: string): string {
  return text.length > 2 * shownBytes ? `${text.slice(0, 2 * shownBytes)}...` : text;
}

function describeExit({ code, signal }: PluginExit): string {
  return signal === null
    ? `exited with code ${code ?? "unknown"}`
    : `was killed by signal ${signal}`;
}

/** The error in how a plugin ended; undefined when it succeeded. */
export function pluginError(type: string, exit: PluginExit): PluginError | undefined {
  if (exit.code === 0) return undefined;
  const answer = parseError(exit.stdout.toString("utf8"));
  if (isObject(answer)) {
    const { code, msg, details } = answer;
    const words = [msg, details].filter((part) => typeof part === "string" && part !== "");
    const text = headOf(words.join("; ")) || `error code ${quoteValue(code)} without a message`;
    return new PluginError(typeof code === "number" ? code : undefined, `plugin ${type}: ${text}`);
  }
  const said = tailOf(exit.stderr) || tailOf(exit.stdout);
  const message = `plugin ${type}: ${describeExit(exit)}${said === "" ? " without output" : `: ${said}`}`;
  return new PluginError(undefined, message);
}
