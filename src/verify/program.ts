/** The verifier's process: `program DIRECTORY < request`. The daemon starts one for each question. */
import process from "node:process";

import { exitNow } from "../linux/process/index.ts";
import { runVerifier } from "./main.ts";

void runVerifier(process.argv.slice(2)).then(exitNow);
