import { type Context, createContext, Script } from "node:vm";
import { RuntimeError } from "./errors.ts";

let compiled: { readonly script: Script; readonly context: Context } | undefined;

/**
 * The result of `work`. `deadline-exceeded` when it takes longer than `ms`: it is then interrupted,
 * even in the middle of a regular expression, which is possible in no other way. For pure work on untrusted
 * patterns or text. A call takes a tenth of a millisecond more than the work, and blocks the event loop.
 */
export function withinTimeLimit<T>(ms: number, work: () => T): T {
  compiled ??= { script: new Script("work()"), context: createContext() };
  const { script, context } = compiled;
  context["work"] = work;
  try {
    return script.runInContext(context, { timeout: ms }) as T;
  } catch (cause) {
    if ((cause as { code?: unknown } | null)?.code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw cause;
    throw new RuntimeError("deadline-exceeded", `it took longer than ${ms} ms`, { cause });
  } finally {
    delete context["work"];
  }
}
