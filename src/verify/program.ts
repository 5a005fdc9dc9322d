/** The verifier's process: `program < request`. The daemon starts one for each question. */
import { exitNow } from "../linux/process/index.ts";
import { runVerifier } from "./main.ts";

void runVerifier().then(exitNow);
