import { type Context, createContext, Script } from "node:vm";
import { RuntimeError } from "./errors.ts";

let compiled: { readonly script: Script; readonly context: Context } | undefined;

/**
 * What `work` returns. `deadline-exceeded` when it takes longer than `ms`: it is ended where it is,
 * also in the middle of a regular expression, which nothing else can do. For work that is pure, with
 * patterns or text of strangers. A call costs a tenth of a millisecond, and the event loop stands still
 * until it is over.
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
