import path from "node:path";
import { pathToFileURL } from "node:url";

/** The variable with the directory of the cache, which test/run.ts makes and removes. */
export const compileCacheVariable = "DAVIT_TEST_COMPILE_CACHE";

/**
 * The option of node with which a process of the tests keeps what it has compiled for the next one; no option without
 * the runner. An option, since the programs under test would inherit a variable (NODE_COMPILE_CACHE). Do not use it
 * where coverage is measured, which would be less precise (node:module, enableCompileCache()).
 */
export function compileCache(): readonly string[] {
  const directory = process.env[compileCacheVariable];
  if (directory === undefined) return [];
  const module = pathToFileURL(path.join(import.meta.dirname, "compile-cache.mjs"));
  module.searchParams.set("directory", directory);
  return [`--import=${module.href}`];
}
