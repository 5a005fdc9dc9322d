/**
 * The processes that read and write archives of images: `program MODE ...`. The daemon starts one for each archive,
 * so that archives never affect the daemon; see archive-main.ts.
 */
import process from "node:process";

import { exitNow } from "../linux/process/index.ts";
import { runArchiveProgram } from "./archive-main.ts";

// Not process.exit(): it would wait for a running read, and the archive may arrive slowly.
void runArchiveProgram(process.argv.slice(2)).then(exitNow);
