// The entry point of `davit serve`: dist/serve.cjs, which loads dist/davit.cjs with the code that the
// last start of the daemon has compiled. All other commands start dist/davit.cjs directly (bin/davit).
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readProgram } from "./compiled-code.ts";

/** The bundle as a function of the CommonJS variables and of two functions for commands/serve.ts. */
type Bundle = (
  require: NodeJS.Require,
  module: { exports: unknown },
  filename: string,
  keepCompiledCode: (() => Promise<void>) | undefined,
  discardCompiledCode: () => Promise<void>,
) => void;

const file = join(dirname(fileURLToPath(import.meta.url)), "davit.cjs");
const parameters = ["require", "module", "__filename", "keepCompiledCode", "discardCompiledCode"];
// The launcher sets the compile cache directory, which Node.js uses for the other commands.
const program = readProgram(file, parameters, process.env["NODE_COMPILE_CACHE"]);
// The type of the bundle is not known here; the build defines it.
(program.run() as Bundle)(
  createRequire(file),
  { exports: {} },
  file,
  program.save,
  program.discard,
);
