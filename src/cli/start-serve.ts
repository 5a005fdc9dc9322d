// What `davit serve` begins with: dist/serve.cjs, which reads dist/davit.cjs with the code that the
// daemon's last start compiled. Everything else starts with dist/davit.cjs itself (bin/davit).
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { readProgram } from "./compiled-code.ts";

/** The bundle as a function of what CommonJS gives a file, and of the two functions for commands/serve.ts. */
type Bundle = (
  require: NodeJS.Require,
  module: { exports: unknown },
  filename: string,
  keepCompiledCode: (() => Promise<void>) | undefined,
  discardCompiledCode: () => Promise<void>,
) => void;

const file = join(dirname(fileURLToPath(import.meta.url)), "davit.cjs");
const parameters = ["require", "module", "__filename", "keepCompiledCode", "discardCompiledCode"];
// The launcher's directory for what Node.js keeps of the other commands.
const program = readProgram(file, parameters, process.env["NODE_COMPILE_CACHE"]);
// The build makes it; no type can say what is in a file.
(program.run() as Bundle)(
  createRequire(file),
  { exports: {} },
  file,
  program.keep,
  program.discard,
);
