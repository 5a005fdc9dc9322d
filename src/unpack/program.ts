/** The unpacker's process: `program FOLDER < blob`. The daemon starts it, once for each layer. */
import process from "node:process";

import { runUnpacker } from "./main.ts";

void runUnpacker(process.argv.slice(2)).then((code) => process.exit(code));
